"""The places inside an image that can be changed: JSON documents, and texts in base64."""

import base64
import json
from dataclasses import dataclass
from typing import Callable

from .image import ATTESTATION, BUNDLE, SIGNATURE, b64, dumped

LOG, CERTIFICATE, TIMESTAMP = (f"dev.sigstore.cosign/{name}" for name in ("bundle", "certificate", "rfc3161timestamp"))
CLASSIC_SIGNATURE = "dev.cosignproject.cosign/signature"
IN_BASE64 = {
    "rawBytes", "keyId", "signedEntryTimestamp", "rootHash", "hashes", "canonicalizedBody", "signedTimestamp", "payload", "sig", "hint",
    "SignedEntryTimestamp", "body", "SignedRFC3161Timestamp", CLASSIC_SIGNATURE,
}


@dataclass
class Spot:
    name: str
    read: Callable    # () -> bytes
    write: Callable   # (bytes) -> None

    def json(self):
        return json.loads(self.read())

    def write_json(self, document):
        self.write(dumped(document))


# --- documents ------------------------------------------------------------------------------

def documents(image):
    """Every JSON document, outermost first."""
    found = []
    for carrier in image.carriers:
        found.append(manifest_of(carrier))
        for number in range(len(carrier.contents)):
            found += _of_layer(carrier, number)
    return found


def signed(image):
    """The documents that are signed: payloads and statements."""
    return [spot for spot in documents(image) if spot.name in ("payload", "statement")]


def manifest_of(carrier):
    return Spot("manifest", carrier.sealed, lambda content: setattr(carrier, "raw", content))


def _of_layer(carrier, number):
    def write(content):
        carrier.contents[number] = content

    layer = Spot({BUNDLE: "bundle", SIGNATURE: "payload", ATTESTATION: "envelope"}[carrier.kind],
                 lambda: carrier.contents[number], write)
    if carrier.kind == BUNDLE:
        inside = [inner(layer, "statement", ["dsseEnvelope", "payload"])]
        entries = get(layer.json(), ["verificationMaterial", "tlogEntries"]) or []
        path = ["verificationMaterial", "tlogEntries"]
        inside += [inner(layer, "log body", [*path, at, "canonicalizedBody"]) for at in range(len(entries))]
        return [layer, *inside]
    found = [layer, *_of_annotations(carrier, number)]
    if carrier.kind == ATTESTATION:
        found.append(inner(layer, "statement", ["payload"]))
    return found


def _of_annotations(carrier, number):
    def write(content):
        carrier.layer(number)["annotations"] = json.loads(content)

    annotations = Spot("annotations", lambda: dumped(carrier.layer(number).get("annotations", {})), write)
    found = [annotations]
    for name, key in (("log annotation", LOG), ("timestamp annotation", TIMESTAMP)):
        if annotations.json().get(key):
            found.append(inner(annotations, name, [key], encoded=False))
    if annotations.json().get(LOG):
        found.append(inner(found[1], "log body", ["Payload", "body"]))
    return found


def inner(outer, name, path, encoded=True):
    """A document that stands as a text in another one."""
    def read():
        text = get(outer.json(), path).encode()
        return base64.b64decode(text) if encoded else text

    def write(content):
        document = outer.json()
        put(document, path, b64(content) if encoded else content.decode())
        outer.write_json(document)

    return Spot(name, read, write)


# --- texts ----------------------------------------------------------------------------------

def texts(image):
    """Every text in base64, as it is written: the name is that of its document and of its field."""
    for spot in documents(image):
        if spot.name in ("bundle", "annotations", "envelope", "log annotation", "timestamp annotation"):
            for path, value in leaves(spot.json()):
                if isinstance(value, str) and any(step in IN_BASE64 for step in path):
                    yield text_at(spot, path)


def text_at(spot, path):
    def write(content):
        document = spot.json()
        put(document, path, content.decode())
        spot.write_json(document)

    return Spot(f"{spot.name}: {dotted(path)}", lambda: get(spot.json(), path).encode(), write)


# --- paths: lists of keys and numbers -------------------------------------------------------

def get(document, path):
    for step in path:
        if document is None or (isinstance(document, dict) and step not in document):
            return None
        document = document[step]
    return document


def put(document, path, value):
    for step in path[:-1]:
        document = document[step]
    document[path[-1]] = value


def drop(document, path):
    for step in path[:-1]:
        document = document[step]
    del document[path[-1]]


def paths(document, so_far=()):
    """Of everything inside, at any depth."""
    steps = document.keys() if isinstance(document, dict) else range(len(document)) if isinstance(document, list) else ()
    for step in list(steps):
        yield [*so_far, step]
        yield from paths(document[step], (*so_far, step))


def leaves(document):
    for path in paths(document):
        value = get(document, path)
        if not isinstance(value, (dict, list)):
            yield path, value


def dotted(path):
    return ".".join("*" if isinstance(step, int) else step for step in path)
