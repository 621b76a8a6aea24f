"""Changes of a bundle's parts, and swaps of parts with the bundles of other images."""

import json

from ..image import BUNDLE
from ..spots import dotted, get, put
from .kinds import mutation, need

ENTRY = ["verificationMaterial", "tlogEntries", 0]
PARTS = [
    ["verificationMaterial"], ["verificationMaterial", "certificate"], ["verificationMaterial", "publicKey"],
    ["verificationMaterial", "tlogEntries"], ["verificationMaterial", "timestampVerificationData"],
    *[[*ENTRY, name] for name in ("inclusionProof", "inclusionPromise", "canonicalizedBody", "logId", "integratedTime", "logIndex", "kindVersion")],
    [*ENTRY, "inclusionProof", "checkpoint"], [*ENTRY, "inclusionProof", "hashes"], [*ENTRY, "inclusionProof", "rootHash"],
    ["dsseEnvelope"], ["dsseEnvelope", "payload"], ["dsseEnvelope", "signatures"], ["mediaType"],
]
MEDIA_TYPES = [
    *[f"application/vnd.dev.sigstore.bundle+json;version={v}" for v in ("0.1", "0.2", "0.3", "0.4", "0.10")],
    *[f"application/vnd.dev.sigstore.bundle.v{v}+json" for v in ("0.1", "0.2", "0.3", "0.3.1", "0.3.2", "0.4", "1.0", "")],
    "application/vnd.dev.sigstore.bundle.v0.3+json ", "APPLICATION/vnd.dev.sigstore.bundle.v0.3+json", "application/json", "",
]


def bundle_of(image):
    return json.loads(image.of_kind(BUNDLE)[0].contents[0])


@mutation("part of another image's bundle", "bundle", weight=12)
def _(spot, rng, others):
    document, other = spot.json(), bundle_of(rng.choice([other for other in others if other.of_kind(BUNDLE)]))
    path = rng.choice(PARTS)
    theirs = get(other, path)
    need(theirs is not None and get(document, path[:-1]) is not None and theirs != get(document, path))
    put(document, path, theirs)
    spot.write_json(document)
    return dotted(path)


@mutation("whole bundle of another image", "bundle", weight=2)
def _(spot, rng, others):
    other = rng.choice([other for other in others if other.of_kind(BUNDLE)])
    need(other.of_kind(BUNDLE)[0].contents[0] != spot.read())
    spot.write(other.of_kind(BUNDLE)[0].contents[0])
    return other.digest[:15]


@mutation("media type of the bundle", "bundle", weight=4)
def _(spot, rng, _others):
    document = spot.json()
    value = rng.choice(MEDIA_TYPES)
    need(value != document.get("mediaType"))
    document["mediaType"] = value
    spot.write_json(document)
    return repr(value)


@mutation("certificate written as a chain", "bundle", weight=3)
def _(spot, rng, others):
    material = (document := spot.json())["verificationMaterial"]
    leaf = material.pop("certificate")
    foreign = [bundle_of(o)["verificationMaterial"].get("certificate") for o in others if o.of_kind(BUNDLE)]
    other = rng.choice([certificate for certificate in foreign if certificate])
    what, chain = rng.choice([
        ("leaf", [leaf]), ("leaf twice", [leaf, leaf]), ("another behind", [leaf, other]), ("another before", [other, leaf]), ("none", []),
    ])
    material["x509CertificateChain"] = {"certificates": chain}
    if rng.random() < 0.7:
        document["mediaType"] = rng.choice(MEDIA_TYPES[:2])
        what += f", version {document['mediaType'][-3:]}"
    spot.write_json(document)
    return what


@mutation("key and certificate", "bundle", weight=2)
def _(spot, rng, _others):
    material = (document := spot.json())["verificationMaterial"]
    what = rng.choice(["key besides", "key instead", "key instead, empty", "neither", "chain besides"])
    if what != "key besides" and what != "chain besides":
        material.pop("certificate", None)
        material.pop("publicKey", None)
    if what.startswith("key"):
        material["publicKey"] = {} if "empty" in what else {"hint": "jF3spVBeKhwMj9vZXsLmHSgRjplPd9FeRNBLCA/fFkk="}
    if what == "chain besides":
        material["x509CertificateChain"] = {"certificates": [material["certificate"]]}
    spot.write_json(document)
    return what


@mutation("signatures of the envelope", "bundle", weight=3)
def _(spot, rng, others):
    envelope = (document := spot.json())["dsseEnvelope"]
    other = bundle_of(rng.choice([other for other in others if other.of_kind(BUNDLE)]))["dsseEnvelope"]["signatures"][0]
    ours = envelope["signatures"][0]
    what, signatures = rng.choice([
        ("none", []), ("twice", [ours, ours]), ("another behind", [ours, other]), ("another before", [other, ours]),
        ("key id", [{**ours, "keyid": "x"}]), ("empty one behind", [ours, {"sig": ""}]), ("key id null", [{**ours, "keyid": None}]),
    ])
    envelope["signatures"] = signatures
    spot.write_json(document)
    return what


@mutation("message signature", "bundle", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    envelope = document["dsseEnvelope"]
    message = {"messageDigest": {"algorithm": "SHA2_256", "digest": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
               "signature": envelope["signatures"][0]["sig"]}
    what = rng.choice(["besides", "besides, empty", "besides, null", "instead"])
    document["messageSignature"] = {"besides, empty": {}, "besides, null": None}.get(what, message)
    if what == "instead":
        del document["dsseEnvelope"]
    spot.write_json(document)
    return what


@mutation("timestamps", "bundle", weight=4)
def _(spot, rng, others):
    material = (document := spot.json())["verificationMaterial"]
    where = ["timestampVerificationData", "rfc3161Timestamps"]
    ours = get(material, where) or []
    foreign = [get(bundle_of(o), ["verificationMaterial", *where]) for o in others if o.of_kind(BUNDLE)]
    theirs = rng.choice([found for found in foreign if found])
    what, timestamps = rng.choice([
        ("none", []), ("twice", ours * 2), ("another's", theirs), ("another's besides", ours + theirs), ("another's first", theirs + ours),
        ("empty one besides", ours + [{"signedTimestamp": ""}]), ("empty object besides", ours + [{}]), ("garbage besides", ours + [{"signedTimestamp": "MAA="}]),
        ("six", (ours or theirs) * 6),
    ])
    need(timestamps != ours)
    material["timestampVerificationData"] = {"rfc3161Timestamps": timestamps}
    spot.write_json(document)
    return what
