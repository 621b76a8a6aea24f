"""Changes of manifests, tags and referrers, and of what lies beside a signature."""

import copy

from ..image import BUNDLE, MANIFEST, SIGNATURE, digest_of
from .kinds import mutation, need

BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"


def of_kind(image, kind, rng):
    found = image.of_kind(kind)
    need(found)
    return rng.choice(found)


@mutation("subject of the referrer", "image with bundle", weight=3)
def _(image, rng, _others):
    manifest = of_kind(image, BUNDLE, rng).manifest
    what = rng.choice(["other digest", "none", "null", "size", "media type", "no size", "empty"])
    subject = manifest["subject"]
    match what:
        case "other digest": subject["digest"] = digest_of(b"other")
        case "none": del manifest["subject"]
        case "null": manifest["subject"] = None
        case "size": subject["size"] += 1
        case "media type": subject["mediaType"] = "application/octet-stream"
        case "no size": del subject["size"]
        case "empty": manifest["subject"] = {}
    return f"subject: {what}"


@mutation("media type of a layer", "image", weight=4)
def _(image, rng, _others):
    carrier = rng.choice(image.carriers)
    layer = carrier.layer(rng.randrange(len(carrier.contents)))
    value = rng.choice([
        BUNDLE_TYPE, "application/vnd.dev.sigstore.bundle.v0.2+json", "application/vnd.dev.sigstore.bundle+json;version=0.3", "application/vnd.dev.sigstore.bundle.v0.9+json",
        "application/vnd.dev.cosign.simplesigning.v1+json", "application/vnd.dsse.envelope.v1+json", "application/json", "", "x",
        "application/vnd.dev.sigstore.bundle.v0.3+json; charset=utf-8", BUNDLE_TYPE.upper(),
    ])
    need(layer["mediaType"] != value)
    layer["mediaType"] = value
    return f"{carrier.kind}: {value!r}"


@mutation("layers of a manifest", "image", weight=4)
def _(image, rng, others):
    carrier = rng.choice(image.carriers)
    what = rng.choice(["twice", "junk behind", "junk before", "junk of the same type behind", "junk of the same type before", "none", "another's behind", "another's before"])
    layers = carrier.manifest["layers"]
    same = copy.deepcopy(layers[0])
    junk = {"mediaType": same["mediaType"] if "same" in what else "application/octet-stream"}
    if "same" in what and "annotations" in same:
        junk["annotations"] = {"dev.cosignproject.cosign/signature": "MAA="}
    added, content = (same, carrier.contents[0]) if what == "twice" else (junk, b"junk")
    if what.startswith("another"):
        other = of_kind(rng.choice(others), carrier.kind, rng)
        added, content = copy.deepcopy(other.layer(0)), other.contents[0]
    if what == "none":
        layers.clear()
        carrier.contents.clear()
    else:
        at = 0 if what.endswith("before") else len(layers)
        layers.insert(at, added)
        carrier.contents.insert(at, content)
    return f"{carrier.kind}: {what}"


@mutation("descriptor of a layer lies", "image", weight=3)
def _(image, rng, _others):
    carrier = rng.choice(image.carriers)
    content = carrier.contents[0]
    what, lie = rng.choice([
        ("size + 1", {"size": len(content) + 1}), ("size - 1", {"size": len(content) - 1}), ("size 0", {"size": 0}), ("negative size", {"size": -1}),
        ("size of 10 GB", {"size": 10**10}), ("size of 1 TB", {"size": 10**12}), ("other digest", {"digest": digest_of(b"other")}), ("short digest", {"digest": "sha256:00"}),
        ("path", {"digest": "sha256:../../x"}), ("upper case", {"digest": digest_of(content).upper()}), ("no algorithm", {"digest": digest_of(content)[7:]}),
    ])
    carrier.lies[0] = lie
    return f"{carrier.kind}: {what}"


@mutation("head of a manifest", "image", weight=3)
def _(image, rng, _others):
    carrier = rng.choice(image.carriers)
    manifest = carrier.manifest
    what = rng.choice(["artifact type", "artifact type of the top", "no media type", "other media type", "schema version", "no config", "config type", "annotations", "manifests besides"])
    match what:
        case "artifact type": manifest["config"]["artifactType"] = "x/y"
        case "artifact type of the top": manifest["artifactType"] = rng.choice(["x/y", BUNDLE_TYPE, ""])
        case "no media type": del manifest["mediaType"]
        case "other media type": manifest["mediaType"] = "application/vnd.docker.distribution.manifest.v2+json"
        case "schema version": manifest["schemaVersion"] = rng.choice([1, 3, "2"])
        case "no config": del manifest["config"]
        case "config type": manifest["config"]["mediaType"] = "application/vnd.oci.image.config.v1+json"
        case "annotations": manifest["annotations"] = {"dev.sigstore.bundle.predicateType": "x", "dev.sigstore.bundle.content": "x"}
        case "manifests besides": manifest["manifests"] = []
    return f"{carrier.kind}: {what}"


# --- what lies beside -----------------------------------------------------------------------

def about(carrier, image):
    """Another image's referrer, as if it referred to this one."""
    carrier = copy.deepcopy(carrier)
    if carrier.kind == BUNDLE and isinstance(carrier.manifest.get("subject"), dict):
        carrier.manifest["subject"]["digest"] = image.digest
    return carrier


@mutation("another image's signature besides", "image", weight=5)
def _(image, rng, others):
    other = rng.choice([other for other in others if other.carriers])
    carrier = about(rng.choice(other.carriers), image)
    need(carrier.kind == BUNDLE or not image.of_kind(carrier.kind))
    image.carriers.insert(rng.randrange(len(image.carriers) + 1), carrier)
    return carrier.kind


@mutation("another image's signature instead", "image", weight=3)
def _(image, rng, others):
    carrier = about(of_kind(rng.choice(others), rng.choice([BUNDLE, SIGNATURE]), rng), image)
    image.carriers = [carrier]
    return carrier.kind


@mutation("junk referrers besides", "image with bundle", weight=4)
def _(image, rng, _others):
    good = of_kind(image, BUNDLE, rng)
    what, content = rng.choice([
        ("no JSON", b"junk"), ("empty object", b"{}"), ("empty", b""), ("half a bundle", good.contents[0][: len(good.contents[0]) // 2]),
        ("only a media type", b'{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json"}'), ("a list", b"[]"),
    ])
    count = rng.choice([1, 1, 1, 3])
    for number in range(count):
        junk = copy.deepcopy(good)
        junk.contents = [content + b" " * number]
        image.carriers.insert(rng.choice([0, len(image.carriers)]), junk)
    return f"{count} of {what}"


@mutation("an SBOM refers to the image", "image", neutral=True, weight=2)
def _(image, rng, _others):
    from ..image import Carrier
    subject = {"mediaType": image.media_type, "digest": image.digest, "size": len(image.subject)}
    config = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "artifactType": "application/spdx+json", "config": config, "layers": [{"mediaType": "application/spdx+json"}], "subject": subject}
    image.carriers.insert(rng.randrange(len(image.carriers) + 1), Carrier(BUNDLE, manifest, [b'{"spdxVersion":"SPDX-2.3"}']))
    return "besides"


@mutation("the same bundle twice", "image with bundle", neutral=True)
def _(image, rng, _others):
    twin = copy.deepcopy(of_kind(image, BUNDLE, rng))
    twin.manifest.setdefault("annotations", {})["x"] = "2"
    image.carriers.append(twin)
    return "twice"


@mutation("without the referrers API", "image with bundle", neutral=True, weight=2)
def _(image, rng, _others):
    need(image.referrers_api)
    image.referrers_api = False
    return "fallback tag"


@mutation("order of carriers", "image", neutral=True)
def _(image, rng, _others):
    need(len(image.carriers) > 1)
    image.carriers.reverse()
    return "reversed"
