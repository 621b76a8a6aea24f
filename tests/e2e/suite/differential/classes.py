"""The differences that are on purpose, each with its reason. What fits none of them fails the run."""

import json
import re
from dataclasses import dataclass
from typing import Callable

from .image import BUNDLE

FALSE_ACCEPT = "FALSE ACCEPT"   # Assay accepts what cosign refuses: always a failure
UNEXPLAINED = "UNEXPLAINED"     # the other way round, and in no class
OLDER = re.compile(rb'"mediaType"\s*:\s*"application/vnd\.dev\.sigstore\.bundle\+json;version=0\.[12]"')


@dataclass(frozen=True)
class Difference:
    name: str
    why: str
    fits: Callable   # (result) -> bool


def said(pattern):
    """Something that Assay said when it refused."""
    compiled = re.compile(pattern)
    return lambda result: any(compiled.search(text) for text in [result.assay.said, *result.assay.checks])


def mutated(*names):
    return lambda result: any(name in names for name in result.case.names)


# Assay accepts. For each, cosign is asked something else that shows why its refusal is no finding about the signature.
LOOSER = [
    Difference("classic beside a bundle", "cosign does not look at classic signatures once there is any bundle; alone, it accepts them",
               lambda result: result.alone is not None and result.alone.accepted),
    Difference("older bundle", "cosign reads no bundles before v0.3 on images; the format allows them, and each of its own checks passes on the newer one",
               lambda result: result.cosign_of_newer is not None and result.cosign_of_newer.accepted),
]

# Assay refuses.
STRICTER = [
    Difference("attestation for a signature", "who attests that a scan ran has not said \"run this\"; cosign takes any predicate type for a signature",
               said(r"predicate type: found|NOT_A_SIGNATURE")),
    Difference("type of what is signed", "the payload's `type` must be cosign's, a statement's `_type` in-toto's v1 (v0.1 for attestations); cosign reads any",
               said(r"^(statement|payload type): found")),
    Difference("referrer of something else", "the manifest must say that it refers to this digest; cosign believes the registry's list",
               said(r"unrelated: refers to something else")),
    Difference("body in a Rekor v2 entry", "the document's parts contradict each other; cosign makes the body anew from the bundle",
               said(r"inclusion proof verification failed|log entry body|malformed log entry|failed to parse Rekor body|unsupported log entry|log entry does not match|has no signed entry timestamp, which says|V2 tlog entries have no integrated time")),
    Difference("ambiguous JSON", "keys twice, or in another spelling: two readers could take different ones",
               said(r"stands twice|another spelling|ambiguous|duplicate field|neither|one of `|unknown member|unknown field")),
    Difference("one spelling of base64 and numbers", "loose bits, line ends, exponents: one text for one value",
               said(r"Invalid last symbol|invalid base64|Invalid symbol|Invalid padding|is not base64|is no number|invalid digit|number too large|not hex|hexadecimal|line ends")),
    Difference("not of the documented form", "fields of another type, or none where one must be; Go's readers put in empty ones",
               said(r"invalid type|missing field|invalid value|invalid length|expected value|wrong shape|no object|trailing|EOF|key must be|Invalid media type|control character"
                    r"|unsupported Rekor entry format|must contain exactly one|the annotation holds no PEM|`keyid`|annotation `|checkpoint|incomplete|not UTF-8|unusable manifest|envelope")),
    Difference("descriptor that lies", "content must have the size and digest that its descriptor says; cosign takes what comes",
               said(r"its descriptor says|bytes, it has|does not fit|hashes to|failed: ")),
    Difference("over a limit", "work without bound is an attack; honest bundles have one entry, one timestamp and one subject", said(r"more than \d|over.limit|the limit is")),
    Difference("layer of another type", "a bundle is the one layer of its manifest and says so; cosign looks at the first, and whatever it calls itself",
               said(r"layers, where a Sigstore bundle is one|no layer is a Sigstore bundle|nothing there is a signature|no signature found|NO_SIGNATURE")),
    Difference("timestamp or log entry besides", "all that is there must verify; cosign passes over what it cannot verify", mutated("timestamps", "log entries: another number of them")),
]


def of(result):
    """The class of a difference; empty where both agree."""
    if result.cosign.accepted == result.assay.accepted:
        return ""
    classes, otherwise = (LOOSER, FALSE_ACCEPT) if result.assay.accepted else (STRICTER, UNEXPLAINED)
    return next((difference.name for difference in classes if difference.fits(result)), otherwise)


def newer(image):
    """Writes the image's older bundles as v0.3, which says the same; true where there was one."""
    found = False
    for carrier in image.of_kind(BUNDLE):
        for number, content in enumerate(carrier.contents):
            if OLDER.search(content):
                carrier.contents[number], found = as_newer(content), True
    return found


def as_newer(content):
    bundle = json.loads(content)
    bundle["mediaType"] = "application/vnd.dev.sigstore.bundle.v0.3+json"
    chain = bundle["verificationMaterial"].pop("x509CertificateChain", None)
    if chain:
        bundle["verificationMaterial"]["certificate"] = chain["certificates"][0]
    return json.dumps(bundle).encode()
