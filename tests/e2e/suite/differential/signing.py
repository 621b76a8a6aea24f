"""Seeds signed again with a key of ours, alone and without a log: so what is signed can be mutated and still be signed."""

import base64
import copy
import hashlib
import json
import subprocess

from .image import BUNDLE, SIGNATURE, b64, dumped
from .seeds import Seed
from .spots import CLASSIC_SIGNATURE



class Key:
    def __init__(self, folder):
        self.private, self.public = folder / "differential.key", folder / "differential.pub"
        openssl("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", self.private)
        openssl("pkey", "-in", self.private, "-pubout", "-out", self.public)
        der = openssl("pkey", "-in", self.private, "-pubout", "-outform", "DER")
        self.hint = b64(hashlib.sha256(der).digest())

    def sign(self, content):
        return b64(openssl("dgst", "-sha256", "-sign", self.private, give=content))


def openssl(*words, give=None):
    return subprocess.run(["openssl", *map(str, words)], input=give, capture_output=True, check=True).stdout


def signed_here(seed, key, annotations=()):
    """The seed as if this key had signed it."""
    image = copy.deepcopy(seed.image)
    for carrier in image.carriers:
        for number, content in enumerate(carrier.contents):
            carrier.contents[number] = prepared(carrier, number, content, key, annotations)
    sign(image, key)
    ours = Seed(f"{seed.name}, signed here", image, seed.demand, True, signed_here=True)
    return ours.asked(key=key.public, issuer="", identity="", claims=(), tlog=False, annotations=tuple(annotations))


def prepared(carrier, number, content, key, annotations):
    """Without anything that others vouched for, and with these annotations in what is signed."""
    wanted = dict(annotation.split("=") for annotation in annotations)
    if carrier.kind == BUNDLE:
        bundle = json.loads(content)
        bundle["verificationMaterial"] = {"publicKey": {"hint": key.hint}}
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        if wanted:
            statement["subject"][0]["annotations"] = wanted
        bundle["dsseEnvelope"]["payload"] = b64(dumped(statement))
        return dumped(bundle)
    carrier.layer(number)["annotations"] = {CLASSIC_SIGNATURE: ""}
    if carrier.kind == SIGNATURE and wanted:
        payload = json.loads(content)
        payload["optional"] = wanted
        return dumped(payload)
    return content


def sign(image, key):
    """Signs what is there now; what cannot be read stays as it is."""
    for carrier in image.carriers:
        for number, content in enumerate(carrier.contents):
            if carrier.kind == SIGNATURE:
                carrier.layer(number)["annotations"][CLASSIC_SIGNATURE] = key.sign(content)
            else:
                carrier.contents[number] = signed_envelope(content, carrier.kind, key)


def signed_envelope(content, kind, key):
    try:
        document = json.loads(content)
        envelope = document["dsseEnvelope"] if kind == BUNDLE else document
        payload = base64.b64decode(envelope["payload"])
        head = f"DSSEv1 {len(envelope['payloadType'].encode())} {envelope['payloadType']} {len(payload)} ".encode()
        envelope["signatures"] = [{"sig": key.sign(head + payload)}]
    except (ValueError, LookupError, TypeError, AttributeError):
        return content
    return dumped(document)
