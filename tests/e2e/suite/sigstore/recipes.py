"""How each image is signed, or forged. The same images are made in each registry."""

from sigstore.forgery import Forge
from sigstore.issuer import email, github, gitlab
from sigstore.rule import CUSTOM, CYCLONEDX, SLSA, SLSA_02, SPDX, VULNERABILITIES
from sigstore.signer import ALONE, ALONE_CLASSIC, CLASSIC, CLASSIC_TSA, OCI11, V1, V1_TSA, V2, Attest, Sign

OURS, STRANGER = "ours", "stranger"   # keys
IDENTITIES = {"email": email(), "github": github(), "gitlab": gitlab(), "key": OURS}
FORMS = [V2, V1, V1_TSA, CLASSIC]     # as cosign writes them today, with a log
MALLORY = email("mallory@evil.example")
BUILD = (("build", "42"),)

# Signed before all others: the first entry of a log has no index and no path in its JSON.
FIRST = {"v2-first-entry": [Sign(V2, email())], "v1-first-entry": [Sign(V1_TSA, email())]}

SOUND = {
    **{f"{form}-{name}": [Sign(form, who)] for form in FORMS for name, who in IDENTITIES.items()},
    **{f"{form}-email": [Sign(form, email())] for form in (CLASSIC_TSA, OCI11)},
    **{f"{form}-annotation": [Sign(form, email(), BUILD)] for form in (V2, V1, CLASSIC)},
    **{f"{form}-recursive": [Sign(form, email(), recursive=True)] for form in (V2, CLASSIC)},
    # A signature, provenance and a bill of materials.
    **{
        f"{form}-attested": [Sign(form, github()), Attest(form, github(), SLSA), Attest(form, github(), SPDX)]
        for form in (V2, V1, CLASSIC)
    },
    "key-attested": [Sign(V2, OURS), Attest(V2, OURS, SLSA)],
    "attested-more": [
        Sign(V2, github()), *(Attest(V2, github(), what) for what in (SLSA_02, CYCLONEDX, VULNERABILITIES, CUSTOM)),
    ],
    "key-alone": [Sign(ALONE, OURS)],
    "key-alone-classic": [Sign(ALONE_CLASSIC, OURS)],
}

# Sound too, but not what the rule wants.
WRONG = {
    **{f"{form}-person": [Sign(form, MALLORY)] for form in FORMS},
    **{f"{form}-issuer": [Sign(form, email(kind="email2"))] for form in FORMS},
    **{f"{form}-branch": [Sign(form, github(ref="refs/heads/main"))] for form in FORMS},
    **{f"{form}-fork": [Sign(form, github(repository="mallory/app"))] for form in FORMS},
    **{f"{form}-key-stranger": [Sign(form, STRANGER)] for form in FORMS},
    "longer-address": [Sign(V2, email("release@acme.example.evil.example"))],
    "prefixed-address": [Sign(V2, email("not-release@acme.example"))],
    "other-workflow": [Sign(V2, github(workflow="acme/app/.github/workflows/test.yml@refs/tags/v1.0.0"))],
    "pull-request": [Sign(V2, github(event="pull_request_target"))],
    # The workflow is ours, but a stranger's repository called it.
    "called-by-fork": [Sign(V2, github(repository="mallory/app", workflow="acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"))],
    "gitlab-fork": [Sign(V2, gitlab(project="mallory/app"))],
    "gitlab-branch": [Sign(V2, gitlab(ref="main", ref_type="branch"))],
    "attested-only": [Attest(V2, github(), SLSA), Attest(V2, github(), SPDX)],
    "attested-only-classic": [Attest(CLASSIC, github(), SLSA)],
    "attested-by-fork": [Sign(V2, github()), Attest(V2, github(repository="mallory/app"), SLSA)],
    "attested-by-fork-classic": [Sign(CLASSIC, github()), Attest(CLASSIC, github(repository="mallory/app"), SLSA)],
    "key-alone-stranger": [Sign(ALONE, STRANGER)],
    "key-alone-classic-stranger": [Sign(ALONE_CLASSIC, STRANGER)],
    "platform-signed": [Sign(V2, email(), part="arm64")],
    "platform-signed-classic": [Sign(CLASSIC, email(), part="arm64")],
    "unsigned": [],
}

# Several signatures on one image.
MIXED = {
    "bundles-wrong-and-right": [Sign(V2, MALLORY), Sign(V2, email())],
    "bundles-right-and-wrong": [Sign(V2, email()), Sign(V2, MALLORY)],
    "logs-wrong-and-right": [Sign(V1, MALLORY), Sign(V2, email())],
    "classic-wrong-and-right": [Sign(CLASSIC, MALLORY), Sign(CLASSIC, email())],
    "classic-wrong-bundle-right": [Sign(CLASSIC, MALLORY), Sign(V2, email())],
    "classic-right-bundle-wrong": [Sign(CLASSIC, email()), Sign(V2, MALLORY)],
    "classic-right-bundle-attests": [Sign(CLASSIC, email()), Attest(V2, github(), SLSA)],
    "wrong-and-wrong": [Sign(V2, MALLORY), Sign(CLASSIC, email(kind="email2"))],
}

# What forgeries are made of: an original, and another image by the same hand that lends parts.
LENDERS = {
    f"{form}-{name}-lender": [Sign(form, IDENTITIES[name], (("lends", "parts"),))]
    for form in (V2, V1, V1_TSA, CLASSIC) for name in ("email", "key")
}

LOGGED_BUNDLE = ["copy", "payload", "signature", "two-signatures", "no-log", "other-log-entry", "checkpoint", "hashes", "no-proof"]
KEYLESS = ["certificate", "other-certificate"]
TIMESTAMPED = ["no-timestamp", "timestamp", "other-timestamp"]
SIGNED_TIME = ["set", "no-set", "time"]
FREE_FIELDS = ["log-body", "root-hash"]
LAYER = ["copy", "payload", "signature", "other-signature", "no-log", "other-log-entry", "set", "time", "log-body", "log-index"]
KINDS = {   # (form, who) -> kinds of forgery
    (V2, "email"): LOGGED_BUNDLE + KEYLESS + TIMESTAMPED + FREE_FIELDS,
    (V1, "email"): LOGGED_BUNDLE + KEYLESS + SIGNED_TIME + FREE_FIELDS,
    (V1_TSA, "email"): TIMESTAMPED + SIGNED_TIME,
    (V2, "key"): LOGGED_BUNDLE,
    (V1, "key"): LOGGED_BUNDLE + SIGNED_TIME,
    (CLASSIC, "email"): LAYER + ["other-certificate", "no-certificate"],
    (CLASSIC, "key"): LAYER,
}
FORGED = {
    f"forged-{form}-{who}-{kind}": [Forge(form, kind, f"{form}-{who}", f"{form}-{who}-lender")]
    for (form, who), kinds in KINDS.items() for kind in kinds
}

SIGNED = {**SOUND, **WRONG, **MIXED, **LENDERS}
