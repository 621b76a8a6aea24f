"""Signed images to start from, and what is asked about each.

A folder with `list.json`; per image an OCI image layout and a `meta.json` with its checks, as the real Sigstore servers and cosign
made them. The folder is no part of this project: ASSAY_E2E_SEEDS names it.
"""

import json
from dataclasses import dataclass, replace
from pathlib import Path

from .image import ATTESTATION, BUNDLE, INDEX, MANIFEST, SIGNATURE, TAG_ENDS, Carrier, Image

PREDICATES = {   # cosign's names for predicate types
    "slsaprovenance1": "https://slsa.dev/provenance/v1",
    "spdxjson": "https://spdx.dev/Document",
    "vuln": "https://cosign.sigstore.dev/attestation/vuln/v1",
}
CLAIMS = {   # cosign's flags, and our names for the claims
    "--certificate-github-workflow-repository": "github_workflow_repository",
    "--certificate-github-workflow-ref": "github_workflow_ref",
    "--certificate-github-workflow-trigger": "github_workflow_trigger",
}


@dataclass(frozen=True)
class Demand:
    """Who must have signed, and what: the same for cosign and for Assay."""

    root: Path
    key: Path = None
    issuer: str = ""
    identity: str = ""
    tlog: bool = True
    claims: tuple = ()        # of (flag of cosign, value)
    annotations: tuple = ()   # of "key=value"
    attestation: str = ""     # cosign's name for its type


@dataclass
class Seed:
    name: str
    image: Image
    demand: Demand
    accepted: bool            # what cosign said when it was made
    signed_here: bool = False

    def asked(self, **changes):
        return replace(self, demand=replace(self.demand, **changes))


def load(folder):
    folder = Path(folder)
    return [seed for name in json.loads((folder / "list.json").read_text()) for seed in of_image(folder, name)]


def of_image(top, name):
    meta = json.loads((top / name / "meta.json").read_text())
    layout = Layout(top / name / "layout")
    for check in meta["checks"]:
        yield Seed(check["name"], layout.image(check["digest"]), demand(top, check), check["expect"] == "pass")


def demand(top, check):
    claims, annotations, tlog = [], [], True
    words = iter(check.get("flags", "").split())
    for word in words:
        flag, _, value = word.partition("=")
        if word == "-a":
            annotations.append(next(words))
        elif flag == "--insecure-ignore-tlog":
            tlog = False
        elif flag in CLAIMS:
            claims.append((flag, value))
        else:
            raise ValueError(f"{check['name']}: flag {word} is not known here")
    return Demand(
        root=top / check.get("trustedRoot", "trusted_root.json"),
        key=top / check["key"] if "key" in check else None,
        issuer=check.get("issuer", ""), identity=check.get("identity", ""), tlog=tlog,
        claims=tuple(claims), annotations=tuple(annotations), attestation=check.get("type", ""),
    )


class Layout:
    def __init__(self, folder):
        self.folder = folder
        self.top = json.loads((folder / "index.json").read_text())["manifests"]

    def blob(self, digest):
        return (self.folder / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes()

    def image(self, digest):
        subject = self.blob(digest)
        media_type = json.loads(subject).get("mediaType", MANIFEST)
        found = [carrier for carrier in map(lambda entry: self.carrier(entry, digest), self.entries()) if carrier]
        has_api = not any(tag(entry) == digest.replace(":", "-") for entry in self.top)
        return Image(subject, media_type, found, has_api)

    def entries(self):
        """Of the layout's index, and of the indexes under referrers tags."""
        for entry in self.top:
            yield entry
            if entry["mediaType"] == INDEX and tag(entry).startswith("sha256-"):
                yield from json.loads(self.blob(entry["digest"]))["manifests"]

    def carrier(self, entry, digest):
        if entry["mediaType"] != MANIFEST:
            return None
        manifest = json.loads(self.blob(entry["digest"]))
        kinds = {digest.replace(":", "-") + end: kind for kind, end in TAG_ENDS.items()}
        kind = kinds.get(tag(entry))
        if manifest.get("subject", {}).get("digest") == digest:
            kind = BUNDLE
        if not kind:
            return None
        return Carrier(kind, manifest, [self.blob(layer["digest"]) for layer in manifest["layers"]])


def tag(entry):
    return entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "")
