"""cosign signs and attests, in every form that there is."""

import json
from dataclasses import dataclass

from sigstore.issuer import Identity
from sigstore.rule import CUSTOM, CYCLONEDX, SLSA, SLSA_02, SPDX, VULNERABILITIES, Predicate
from sigstore.servers import FULCIO, REKOR1, TSA

# Where the signature goes and what vouches for its time. The first three are bundles, kept as referrers.
V2 = "v2"                        # Rekor v2 and a timestamp
V1 = "v1"                        # Rekor v1
V1_TSA = "v1-tsa"                # Rekor v1 and a timestamp
CLASSIC = "classic"              # Rekor v1, in the tags .sig and .att
CLASSIC_TSA = "classic-tsa"      # and a timestamp
OCI11 = "oci11"                  # as CLASSIC, but kept as a referrer
ALONE = "alone"                  # a bundle without a log entry, by a key
ALONE_CLASSIC = "alone-classic"  # the same in the tag .sig


@dataclass(frozen=True)
class Sign:
    form: str
    by: object              # Identity, or the name of a key
    annotations: tuple = ()
    recursive: bool = False   # each platform too
    part: str = "index"       # or only this platform


@dataclass(frozen=True)
class Attest:
    form: str
    by: object
    predicate: Predicate
    part: str = "index"


class Signer:
    def __init__(self, workspace, servers, keys):
        self.workspace, self.issuer = workspace, servers.issuer
        self.keys = keys   # name -> private key
        self.cosign = workspace.tools / "cosign/cosign"
        root = ["--trusted-root", servers.trusted_root]
        classic = ["--use-signing-config=false", "--new-bundle-format=false", *root]
        classic += ["--fulcio-url", f"http://127.0.0.1:{FULCIO}", "--rekor-url", f"http://127.0.0.1:{REKOR1}"]
        alone = ["--use-signing-config=false", "--tlog-upload=false"]
        self.forms = {
            V2: ["--signing-config", servers.signing_config(V2, "v2", timestamps=True), *root],
            V1: ["--signing-config", servers.signing_config(V1, "v1", timestamps=False), *root],
            V1_TSA: ["--signing-config", servers.signing_config(V1_TSA, "v1", timestamps=True), *root],
            CLASSIC: classic,
            CLASSIC_TSA: [*classic, "--timestamp-server-url", f"http://127.0.0.1:{TSA}/api/v1/timestamp"],
            OCI11: [*classic, "--registry-referrers-mode", "oci-1-1"],
            ALONE: alone,
            ALONE_CLASSIC: [*alone, "--new-bundle-format=false"],
        }
        self.predicates = {}
        for predicate, document in PREDICATES.items():
            path = workspace.root / f"predicate-{predicate.name}.json"
            path.write_text(json.dumps(document))
            self.predicates[predicate] = path

    def perform(self, step, image):
        name = f"{image.repository.address}/{image.repository.path}@{image.digest(step.part)}"
        words = ["--yes", "--allow-http-registry", *self.forms[step.form], *self._by(step.by)]
        environment = {"COSIGN_EXPERIMENTAL": "1"} if step.form == OCI11 else {}
        if isinstance(step, Sign):
            words += [word for key, value in step.annotations for word in ("-a", f"{key}={value}")]
            words += ["--recursive"] if step.recursive else []
            self.workspace.must(self.cosign, "sign", *words, name, **environment)
        else:
            words += ["--type", step.predicate.cosign, "--predicate", self.predicates[step.predicate]]
            self.workspace.must(self.cosign, "attest", *words, name, **environment)

    def _by(self, who):
        if isinstance(who, Identity):
            return ["--identity-token", self.issuer.token(who)]
        return ["--key", self.keys[who]]


PREDICATES = {
    SLSA: {
        "buildDefinition": {
            "buildType": "https://actions.github.io/buildtypes/workflow/v1",
            "externalParameters": {"workflow": {
                "ref": "refs/tags/v1.0.0", "repository": "https://github.com/acme/app", "path": ".github/workflows/release.yml",
            }},
        },
        "runDetails": {
            "builder": {"id": "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"},
            "metadata": {"invocationId": "https://github.com/acme/app/actions/runs/300003/attempts/1"},
        },
    },
    SPDX: {
        "spdxVersion": "SPDX-2.3", "dataLicense": "CC0-1.0", "SPDXID": "SPDXRef-DOCUMENT", "name": "acme/app",
        "documentNamespace": "https://acme.example/spdx/app-v1",
        "creationInfo": {"created": "2026-01-01T00:00:00Z", "creators": ["Tool: test"]},
        "packages": [{"SPDXID": "SPDXRef-app", "name": "app", "versionInfo": "1.0.0", "downloadLocation": "NOASSERTION"}],
    },
    SLSA_02: {
        "builder": {"id": "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.0.0"},
        "buildType": "https://github.com/Attestations/GitHubActionsWorkflow@v1",
        "invocation": {"configSource": {"uri": "git+https://github.com/acme/app@refs/tags/v1.0.0"}},
    },
    CYCLONEDX: {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "components": []},
    VULNERABILITIES: {
        "invocation": {"uri": "", "event_id": "", "builder.id": ""},
        "scanner": {"uri": "pkg:github/acme/scanner", "version": "1.0", "db": {"uri": "", "version": ""}, "result": {}},
        "metadata": {"scanStartedOn": "2026-01-01T00:00:00Z", "scanFinishedOn": "2026-01-01T00:01:00Z"},
    },
    CUSTOM: {"reviewed_by": "release@acme.example"},
}
