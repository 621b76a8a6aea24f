"""Changes of what is signed: payloads of the classic layout, statements in envelopes."""

from .kinds import mutation, need

OTHER = "0" * 63 + "1"
SIGN = "https://sigstore.dev/cosign/sign/v1"


@mutation("payload: claims", "payload", weight=8)
def _(spot, rng, _others):
    document = spot.json()
    critical = document["critical"]
    digest = critical["image"]["docker-manifest-digest"]
    hex_digits = digest.removeprefix("sha256:")
    what = rng.choice([
        "other digest", "no algorithm", "upper case", "algorithm in upper case", "sha512", "blank", "list of digests", "other type", "no type", "type in upper case",
        "more in critical", "more in image", "more in identity", "more beside", "no identity", "no reference", "null reference",
        "empty reference", "other reference", "no optional", "optional list", "optional text", "two digests", "type of atomic",
    ])
    image, identity = critical["image"], critical["identity"]
    match what:
        case "other digest": image["docker-manifest-digest"] = "sha256:" + OTHER
        case "no algorithm": image["docker-manifest-digest"] = hex_digits
        case "upper case": image["docker-manifest-digest"] = "sha256:" + hex_digits.upper()
        case "algorithm in upper case": image["docker-manifest-digest"] = "SHA256:" + hex_digits
        case "sha512": image["docker-manifest-digest"] = "sha512:" + hex_digits * 2
        case "blank": image["docker-manifest-digest"] = f" {digest}"
        case "list of digests": image["docker-manifest-digest"] = [digest]
        case "other type": critical["type"] = "x"
        case "no type": del critical["type"]
        case "type in upper case": critical["type"] = critical["type"].upper()
        case "type of atomic": critical["type"] = "atomic container signature"
        case "more in critical": critical["x"] = 1
        case "more in image": image["x"] = 1
        case "more in identity": identity["x"] = 1
        case "more beside": document["x"] = 1
        case "no identity": del critical["identity"]
        case "no reference": del identity["docker-reference"]
        case "null reference": identity["docker-reference"] = None
        case "empty reference": identity["docker-reference"] = ""
        case "other reference": identity["docker-reference"] = "evil.test/x"
        case "no optional": document.pop("optional", None)
        case "optional list": document["optional"] = []
        case "optional text": document["optional"] = "x"
        case "two digests": image["Docker-manifest-digest"] = "sha256:" + OTHER
    spot.write_json(document)
    return what


@mutation("payload: annotations", "payload", weight=3)
def _(spot, rng, _others):
    document = spot.json()
    value = rng.choice(["42", "43", 42, None, ["42"], {"build": "42"}, True, "42 ", ""])
    what = rng.choice(["build", "Build", "optional in other case", "another besides"])
    document["optional"] = {"build": value} if what == "build" else {"Build": value} if what == "Build" else {"build": "42", "x": value}
    if what == "optional in other case":
        document["Optional"] = {"build": "42"}
        del document["optional"]
    spot.write_json(document)
    return f"{what}: {value!r}"


@mutation("statement: types", "statement", weight=5)
def _(spot, rng, _others):
    document = spot.json()
    field, value = rng.choice([
        *[("predicateType", value) for value in ("", "x", SIGN, SIGN + "/", SIGN.upper(), "https://slsa.dev/provenance/v1", "https://slsa.dev/provenance/v0.2",
                                                 "https://spdx.dev/Document", "https://cosign.sigstore.dev/attestation/v1", "cosign.sigstore.dev/attestation/v1")],
        *[("_type", f"https://in-toto.io/Statement/{version}") for version in ("v0.1", "v1", "v2", "v1.0", "v0.2", "")], ("_type", ""), ("_type", "x"),
    ])
    need(document.get(field) != value)
    document[field] = value
    spot.write_json(document)
    return f"{field} = {value!r}"


@mutation("statement: subjects", "statement", weight=8)
def _(spot, rng, _others):
    document = spot.json()
    ours = document["subject"][0]
    right = ours["digest"]["sha256"]
    other = {"name": "x", "digest": {"sha256": OTHER}}
    what, subjects = rng.choice([
        ("none", []), ("another", [other]), ("another behind", [ours, other]), ("another before", [other, ours]), ("twice", [ours, ours]),
        ("upper case", [{**ours, "digest": {"sha256": right.upper()}}]), ("with algorithm", [{**ours, "digest": {"sha256": "sha256:" + right}}]),
        ("sha512 besides", [{**ours, "digest": {"sha256": right, "sha512": right * 2}}]), ("only sha512", [{**ours, "digest": {"sha512": right * 2}}]),
        ("only sha1", [{**ours, "digest": {"sha1": right[:40]}}]), ("algorithm in upper case", [{**ours, "digest": {"SHA256": right}}]),
        ("empty digest", [{**ours, "digest": {}}]), ("no digest", [{"name": "x"}]), ("empty subject", [{}]), ("null subject", [None]),
        ("empty subject behind", [ours, {}]), ("null digest", [{**ours, "digest": None}]), ("digest a text", [{**ours, "digest": right}]),
        ("one hundred", [other] * 99 + [ours]), ("two thousand", [other] * 2000 + [ours]), ("gitCommit besides", [{**ours, "digest": {"sha256": right, "gitCommit": "1" * 40}}]),
        ("sha256 spoilt, sha512 besides", [{"digest": {"sha256": OTHER, "sha512": right * 2}}]), ("cut off", [{**ours, "digest": {"sha256": right[:-1]}}]),
        ("name", [{**ours, "name": "x"}]), ("more fields", [{**ours, "uri": "https://x.test", "content": "eA==", "mediaType": "x/y", "downloadLocation": "x"}]),
        ("unknown field", [{**ours, "x": 1}]),
    ])
    document["subject"] = subjects
    spot.write_json(document)
    return what


@mutation("statement: annotations", "statement", weight=4)
def _(spot, rng, _others):
    document = spot.json()
    ours = document["subject"][0]
    value = rng.choice([{"build": "42"}, {"build": "43"}, {"build": 42}, {"build": None}, {"build": ["42"]}, {"Build": "42"}, {}, None, [], "x", {"build": "42", "x": "y"}])
    what = rng.choice(["set", "set", "on another subject", "on a second of ours", "on a first of ours"])
    match what:
        case "set": ours["annotations"] = value
        case "on another subject": document["subject"].append({"digest": {"sha256": OTHER}, "annotations": value})
        case "on a second of ours": document["subject"].append({**ours, "annotations": value})
        case "on a first of ours": document["subject"].insert(0, {**ours, "annotations": value})
    spot.write_json(document)
    return f"{what}: {value}"


@mutation("statement: predicate", "statement", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    value = rng.choice([{}, None, [], "x", 1, {"x": {"y": [1]}}])
    need(document.get("predicate") != value)
    document["predicate"] = value
    spot.write_json(document)
    return repr(value)


@mutation("payload type of the envelope", "envelope", weight=2)
def _(spot, rng, _others):
    document = spot.json()
    envelope = document.get("dsseEnvelope", document)
    value = rng.choice(["", "application/json", "application/vnd.in-toto+json ", "application/vnd.in-toto", "text/plain", "APPLICATION/VND.IN-TOTO+JSON"])
    need("payloadType" in envelope)
    envelope["payloadType"] = value
    spot.write_json(document)
    return repr(value)
