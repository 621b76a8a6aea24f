"""Who is demanded of which image, and what must come of it.

cosign and Assay must agree. Where they do not, the case says why, and Assay may be the one that accepts for one
reason only.
"""

from collections import Counter
from dataclasses import dataclass, replace

from sigstore import recipes
from sigstore.recipes import KINDS, STRANGER
from sigstore.rule import ABSENT, CUSTOM, CYCLONEDX, OTHER, SLSA, SLSA_02, SPDX, VULNERABILITIES, Rule
from sigstore.signer import CLASSIC, V1, V2

ACCEPT, REFUSE = "accept", "refuse"

NOT_A_SIGNATURE = "an attestation by the right identity is no signature; cosign asks no predicate type"
BESIDE_A_BUNDLE = "the classic signature is good; cosign looks at none once the image has any bundle"
WHOLE_IDENTITY = "our expressions match the whole identity; cosign's match any part of it"
LOG_BODY = "the log entry was changed; cosign makes its own from the bundle and does not read this one"
ASSAY_MAY_ACCEPT = [BESIDE_A_BUNDLE]

WORKFLOW = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"
EMAIL = Rule(issuer="email", identity="release@acme.example")
GITHUB = Rule(issuer="github", identity=WORKFLOW)
GITHUB_CLAIMS = replace(GITHUB, claims=(
    ("source_repository", "https://github.com/acme/app"), ("source_ref", "refs/tags/v1.0.0"), ("trigger", "push"),
))
GITLAB = Rule(issuer="gitlab", identity="https://gitlab.com/acme/app//.gitlab-ci.yml@refs/tags/v1.0.0")
KEY = Rule(key=recipes.OURS)
RULES = {"email": EMAIL, "github": GITHUB, "gitlab": GITLAB, "key": KEY}


@dataclass(frozen=True)
class Case:
    name: str
    image: str          # a name in `recipes`
    rule: Rule
    cosign: str         # ACCEPT or REFUSE
    assay: str
    why: str = ""       # they differ
    part: str = "index"  # what is asked for, by its digest: the index, or a platform that nobody asked for before
    command: str = ""   # `assay verify`, where it must answer something else than the proxy
    oci11: bool = False  # cosign must be told where to look
    turn: int = 0       # counts the cases about one image

    def __post_init__(self):
        if self.cosign != self.assay and not self.why:
            raise ValueError(f"{self.name}: cosign and Assay differ, and nobody says why")
        if (self.cosign, self.assay) == (REFUSE, ACCEPT) and self.why not in ASSAY_MAY_ACCEPT:
            raise ValueError(f"{self.name}: Assay may not accept what cosign refuses")


def accept(image, rule, name=None, **more):
    return Case(name or image, image, rule, ACCEPT, ACCEPT, **more)


def refuse(image, rule, name=None, **more):
    return Case(name or image, image, rule, REFUSE, REFUSE, **more)


def we_refuse(image, rule, why, name=None):
    return Case(name or image, image, rule, ACCEPT, REFUSE, why)


def we_accept(image, rule, why, name=None):
    return Case(name or image, image, rule, REFUSE, ACCEPT, why)


def expression(text):
    return Rule(issuer="email", identity_regexp=text)


def keyless():
    for form in recipes.FORMS:
        for who in ("email", "github", "gitlab"):
            yield accept(f"{form}-{who}", RULES[who])
    yield accept("v2-first-entry", EMAIL)
    yield accept("v1-first-entry", EMAIL)
    yield accept("classic-tsa-email", EMAIL)
    yield accept("oci11-email", EMAIL, oci11=True)
    for form in (V2, V1, CLASSIC):
        yield accept(f"{form}-github", GITHUB_CLAIMS, f"{form}-github-claims")
    yield accept("v2-email", expression(r"release@acme\.example"), "expression")
    yield accept("v2-email", expression(r"(release|nightly)@acme\.(example|test)"), "expression-of-several")


def keys():
    for form in recipes.FORMS:
        yield accept(f"{form}-key", KEY)
        yield accept(f"{form}-key", replace(KEY, tlog=False), f"{form}-key-log-not-asked-for")
    for name in ("key-alone", "key-alone-classic"):
        yield accept(name, replace(KEY, tlog=False))
        yield refuse(name, KEY, f"{name}-log-wanted")


def annotations():
    for form in (V2, V1, CLASSIC):
        yield accept(f"{form}-annotation", replace(EMAIL, annotations=(("build", "42"),)))
        yield refuse(f"{form}-annotation", replace(EMAIL, annotations=(("build", "43"),)), f"{form}-annotation-other")
        yield refuse(f"{form}-email", replace(EMAIL, annotations=(("build", "42"),)), f"{form}-annotation-absent")


def attestations():
    for form in (V2, V1, CLASSIC):
        image = f"{form}-attested"
        yield accept(image, GITHUB, f"{image}-signature")
        yield accept(image, replace(GITHUB, attestations=(SLSA,)), f"{image}-slsa")
        yield accept(image, replace(GITHUB, attestations=(SLSA, SPDX)), f"{image}-slsa-spdx")
        yield refuse(image, replace(GITHUB, attestations=(SLSA, ABSENT)), f"{image}-absent")
        yield refuse(f"{form}-github", replace(GITHUB, attestations=(SLSA,)), f"{form}-not-attested")
    for what in (SLSA_02, CYCLONEDX, VULNERABILITIES, CUSTOM):
        yield accept("attested-more", replace(GITHUB, attestations=(what,)), f"attested-{what.name}")
    yield refuse("attested-more", replace(GITHUB, attestations=(SLSA,)), "attested-slsa-0.2-only")
    yield accept("key-attested", replace(KEY, attestations=(SLSA,)))
    yield we_refuse("attested-only", GITHUB, NOT_A_SIGNATURE)
    yield refuse("attested-only-classic", GITHUB)
    yield refuse("attested-by-fork", replace(GITHUB, attestations=(SLSA,)))
    yield refuse("attested-by-fork-classic", replace(GITHUB, attestations=(SLSA,)))


def platforms():
    for form in (V2, CLASSIC):
        for part in ("index", "amd64", "arm64", "unknown"):
            yield accept(f"{form}-recursive", EMAIL, f"{form}-recursive-{part}", part=part)
    for image in ("platform-signed", "platform-signed-classic"):
        yield accept(image, EMAIL, part="arm64")
        yield refuse(image, EMAIL, f"{image}-index")
    for form in (V2, CLASSIC):
        # `assay verify` looks through the tags for an index that names it; the proxy does not unless it is told to.
        yield refuse(f"{form}-email", EMAIL, f"{form}-platform-alone", part="amd64", command=ACCEPT)


def wrong():
    for form in recipes.FORMS:
        yield refuse(f"{form}-person", EMAIL)
        yield refuse(f"{form}-issuer", EMAIL)
        yield refuse(f"{form}-branch", GITHUB)
        yield refuse(f"{form}-fork", GITHUB)
        yield refuse(f"{form}-key-stranger", KEY)
        yield accept(f"{form}-key-stranger", Rule(key=STRANGER), f"{form}-key-of-the-stranger")
        yield refuse(f"{form}-key", EMAIL, f"{form}-key-for-an-identity")
        yield refuse(f"{form}-email", KEY, f"{form}-identity-for-a-key")
        for who, rule in RULES.items():
            if who != "key":
                yield refuse(f"{form}-{who}", replace(rule, root=OTHER), f"{form}-{who}-other-root")
        yield refuse(f"{form}-key", replace(KEY, root=OTHER), f"{form}-key-other-root")
    yield refuse("longer-address", EMAIL)
    yield refuse("prefixed-address", EMAIL)
    yield we_refuse("longer-address", expression(r"release@acme\.example"), WHOLE_IDENTITY, "longer-address-expression")
    yield we_refuse("prefixed-address", expression(r"release@acme\.example"), WHOLE_IDENTITY, "prefixed-address-expression")
    yield refuse("v2-person", expression(r".*@acme\.example"), "person-expression")
    yield refuse("other-workflow", GITHUB)
    yield accept("pull-request", GITHUB, "pull-request-not-asked")
    yield refuse("pull-request", GITHUB_CLAIMS)
    yield accept("called-by-fork", GITHUB, "called-by-fork-not-asked")
    yield refuse("called-by-fork", GITHUB_CLAIMS)
    yield refuse("gitlab-fork", GITLAB)
    yield refuse("gitlab-branch", GITLAB)
    yield refuse("key-alone-stranger", replace(KEY, tlog=False))
    yield refuse("key-alone-classic-stranger", replace(KEY, tlog=False))
    yield refuse("unsigned", EMAIL)
    yield refuse("unsigned", replace(KEY, tlog=False), "unsigned-for-a-key")


def mixed():
    for name in recipes.MIXED:
        if name == "wrong-and-wrong":
            yield refuse(name, EMAIL)
        elif name.startswith("classic-right-bundle"):
            yield we_accept(name, EMAIL, BESIDE_A_BUNDLE)
        else:
            yield accept(name, EMAIL)


def forged():
    """Each beside its original, which is in `keyless` and `keys`."""
    harmless = {
        "forged-v2-email-root-hash",         # the root of the signed checkpoint counts, and is good
        # The log signed the time: a timestamp that could be left out may as well be a bad one.
        "forged-v1-tsa-email-no-timestamp",
        "forged-v1-tsa-email-timestamp",
        "forged-v1-tsa-email-other-timestamp",
        "forged-v1-key-no-set",              # the log proves the entry; a key needs no time
    }
    stricter = {"forged-v2-email-log-body": LOG_BODY}
    for (form, who), kinds in KINDS.items():
        for kind in kinds:
            name = f"forged-{form}-{who}-{kind}"
            if name in stricter:
                yield we_refuse(name, RULES[who], stricter[name])
            else:
                yield (accept if name in harmless else refuse)(name, RULES[who])
            if who == "key":
                # Nobody asks for the log: what is wrong with the entry alone does not matter, as long as it is a bundle.
                about_log = kind not in ("copy", "payload", "signature", "two-signatures", "other-signature", "no-proof")
                yield (accept if about_log else refuse)(name, replace(KEY, tlog=False), f"{name}-unlogged")


SECTIONS = {
    "keyless": keyless,
    "keys": keys,
    "annotations": annotations,
    "attestations": attestations,
    "platforms": platforms,
    "not what the rule wants": wrong,
    "several signatures": mixed,
    "forged": forged,
}


def all_cases():
    """(section, case) of each."""
    found = [(section, case) for section, cases in SECTIONS.items() for case in cases()]
    names = Counter(case.name for _, case in found)
    if len(names) < len(found):
        raise ValueError(f"two cases of one name: {names.most_common(1)}")
    turns = Counter()
    for at, (section, case) in enumerate(found):
        turns[case.image] += 1
        found[at] = (section, replace(case, turn=turns[case.image]))
    return found
