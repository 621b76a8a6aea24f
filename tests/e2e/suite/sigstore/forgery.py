"""Moves and changes the parts of good signatures: each forgery is one image beside its honest original."""

import base64
import copy
import json
from dataclasses import dataclass

from sigstore.repository import tag_of
from sigstore.signer import CLASSIC


@dataclass(frozen=True)
class Forge:
    """A changed copy of the signature of the image `of`; `lender`'s signature may lend a part."""

    form: str
    kind: str        # a name in BUNDLE, or for CLASSIC in LAYER
    of: str
    lender: str = ""

    @property
    def needs_another_image(self):
        """The others lie on the very image that was signed."""
        return self.kind in ("copy", "payload")


def perform(step, target, made):
    """`made` has all signed images of the same registry by name; `target` is a Tiny."""
    source, lender = made[step.of], made.get(step.lender)
    if step.form == CLASSIC:
        forge_layer(LAYER[step.kind], source, target, lender)
    else:
        forge_bundle(BUNDLE[step.kind], source, target, lender)


# --- bundles -------------------------------------------------------------------------------

def forge_bundle(change, source, target, lender):
    manifest, bundle = bundle_of(source)
    change(bundle, target.index, bundle_of(lender)[1] if lender else None)
    repository = target.repository
    repository.put_blob(b"{}", manifest["config"]["mediaType"])
    manifest["layers"][0] |= repository.put_blob(json.dumps(bundle).encode(), manifest["layers"][0]["mediaType"])
    manifest["subject"] |= {"digest": target.index, "size": len(repository.content("manifests", target.index))}
    repository.put_manifest(manifest)


def bundle_of(image):
    """The manifest and the content of the image's only bundle."""
    [referrer] = image.repository.referrers(image.index)
    manifest = image.repository.manifest(referrer["digest"])
    return manifest, json.loads(image.repository.content("blobs", manifest["layers"][0]["digest"]))


def material(bundle):
    return bundle["verificationMaterial"]


def entry(bundle):
    return material(bundle)["tlogEntries"][0]


def proof(bundle):
    return entry(bundle)["inclusionProof"]


def token(bundle):
    return material(bundle)["timestampVerificationData"]["rfc3161Timestamps"][0]


def change_payload(bundle, target, _):
    """The statement names the target; the signature no longer fits."""
    envelope = bundle["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    statement["subject"][0]["digest"]["sha256"] = target.split(":")[1]
    envelope["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()


def change_signature(bundle, *_):
    signature = bundle["dsseEnvelope"]["signatures"][0]
    signature["sig"] = flip(signature["sig"])


def add_signature(bundle, _, lent):
    bundle["dsseEnvelope"]["signatures"] += lent["dsseEnvelope"]["signatures"]


def change_checkpoint(bundle, *_):
    checkpoint = proof(bundle)["checkpoint"]
    text, signature = checkpoint["envelope"].rstrip("\n").rsplit(" ", 1)
    checkpoint["envelope"] = f"{text} {flip(signature)}\n"


def lend(part):
    """The part of the lender's verification material, in place of our own."""
    return lambda bundle, _, lent: material(bundle).update({part: copy.deepcopy(material(lent)[part])})


def drop(part):
    return lambda bundle, *_: material(bundle).pop(part)


BUNDLE = {   # (bundle, digest of the target, bundle of the lender)
    "copy": lambda *_: None,   # as it is, beside another image
    "payload": change_payload,
    "signature": change_signature,
    "two-signatures": add_signature,
    "no-log": drop("tlogEntries"),
    "other-log-entry": lend("tlogEntries"),
    "log-body": lambda bundle, *_: entry(bundle).update(canonicalizedBody=flip(entry(bundle)["canonicalizedBody"], 40)),
    "checkpoint": change_checkpoint,
    "root-hash": lambda bundle, *_: proof(bundle).update(rootHash=flip(proof(bundle)["rootHash"])),
    "hashes": lambda bundle, *_: proof(bundle).update(hashes=[flip(h) for h in proof(bundle)["hashes"]]),
    "no-proof": lambda bundle, *_: entry(bundle).pop("inclusionProof"),
    "certificate": lambda bundle, *_: material(bundle)["certificate"].update(
        rawBytes=flip(material(bundle)["certificate"]["rawBytes"])),
    "other-certificate": lend("certificate"),
    "no-timestamp": drop("timestampVerificationData"),
    "timestamp": lambda bundle, *_: token(bundle).update(signedTimestamp=flip(token(bundle)["signedTimestamp"])),
    "other-timestamp": lend("timestampVerificationData"),
    # Rekor v1 only: it signs the time of the entry.
    "set": lambda bundle, *_: entry(bundle)["inclusionPromise"].update(
        signedEntryTimestamp=flip(entry(bundle)["inclusionPromise"]["signedEntryTimestamp"])),
    "no-set": lambda bundle, *_: entry(bundle).pop("inclusionPromise"),
    "time": lambda bundle, *_: entry(bundle).update(integratedTime=str(int(entry(bundle)["integratedTime"]) + 60)),
}


# --- the classic layout --------------------------------------------------------------------

SIGNATURE, CERTIFICATE = "dev.cosignproject.cosign/signature", "dev.sigstore.cosign/certificate"
LOG = "dev.sigstore.cosign/bundle"


@dataclass
class Layer:
    notes: dict      # the layer's annotations
    payload: bytes


def forge_layer(change, source, target, lender):
    manifest, layer = layer_of(source)
    change(layer, target.index, layer_of(lender)[1] if lender else None)
    descriptor, repository = manifest["layers"][0], target.repository
    repository.put_blob(source.repository.content("blobs", manifest["config"]["digest"]), manifest["config"]["mediaType"])
    descriptor |= repository.put_blob(layer.payload, descriptor["mediaType"]) | {"annotations": layer.notes}
    repository.put_manifest(manifest, tag_of(target.index, ".sig"))


def layer_of(image):
    """The manifest and the content of the image's only classic signature."""
    manifest = image.repository.manifest(tag_of(image.index, ".sig"))
    [descriptor] = manifest["layers"]
    return manifest, Layer(dict(descriptor["annotations"]), image.repository.content("blobs", descriptor["digest"]))


def rewrite_payload(layer, target, _):
    payload = json.loads(layer.payload)
    payload["critical"]["image"]["docker-manifest-digest"] = target
    layer.payload = json.dumps(payload).encode()


def in_log(change):
    """A change of the log entry, which is JSON in an annotation."""
    def apply(layer, *_):
        log = json.loads(layer.notes[LOG])
        change(log)
        layer.notes[LOG] = json.dumps(log)
    return apply


def borrow(annotation):
    return lambda layer, _, lent: layer.notes.update({annotation: lent.notes[annotation]})


LAYER = {   # (layer, digest of the target, layer of the lender)
    "copy": lambda *_: None,
    "payload": rewrite_payload,
    "signature": lambda layer, *_: layer.notes.update({SIGNATURE: flip(layer.notes[SIGNATURE])}),
    "other-signature": borrow(SIGNATURE),
    "no-log": lambda layer, *_: layer.notes.pop(LOG),
    "other-log-entry": borrow(LOG),
    "other-certificate": borrow(CERTIFICATE),
    "no-certificate": lambda layer, *_: layer.notes.pop(CERTIFICATE),
    "set": in_log(lambda log: log.update(SignedEntryTimestamp=flip(log["SignedEntryTimestamp"]))),
    "time": in_log(lambda log: log["Payload"].update(integratedTime=log["Payload"]["integratedTime"] + 60)),
    "log-body": in_log(lambda log: log["Payload"].update(body=flip(log["Payload"]["body"], 40))),
    "log-index": in_log(lambda log: log["Payload"].update(logIndex=log["Payload"]["logIndex"] + 1)),
}


def flip(text, at=-8):
    """Base64 with one bit of its content changed; near the end, where the signature of a signed thing is."""
    data = bytearray(base64.b64decode(text))
    data[at] ^= 1
    return base64.b64encode(bytes(data)).decode()
