"""The smallest image that has all an image has: two platforms, and a statement of the builder among them."""

import gzip
import io
import json
import tarfile
from dataclasses import dataclass

from sigstore.repository import INDEX, MANIFEST, OCI, Repository, digest_of

TAG = "v1"
PLATFORMS = ["amd64", "arm64"]
BUILDER = "unknown"   # the platform of what BuildKit adds to an index


@dataclass
class Tiny:
    registry: object
    repository: Repository
    index: str      # digest
    parts: dict     # architecture -> digest of its manifest

    def digest(self, part):
        return self.index if part == "index" else self.parts[part]


def build(registry, path, content):
    """The bytes depend on `content` only: two repositories can hold the same image."""
    repository = Repository(registry.address, path)
    entries = [platform(repository, content, architecture) for architecture in PLATFORMS]
    entries.append(statement(repository, entries[0]["digest"]))
    index = repository.put_manifest({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}, TAG)
    parts = {entry["platform"]["architecture"]: entry["digest"] for entry in entries}
    return Tiny(registry, repository, index["digest"], parts)


def platform(repository, content, architecture):
    text = f"{content} for {architecture}\n".encode()
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w") as archive:
        entry = tarfile.TarInfo("hello.txt")
        entry.size = len(text)
        archive.addfile(entry, io.BytesIO(text))
    layer = repository.put_blob(gzip.compress(tar.getvalue(), mtime=0), OCI + "layer.v1.tar+gzip")
    return manifest(repository, architecture, "linux", [layer], [digest_of(tar.getvalue())])


def statement(repository, subject):
    """As BuildKit writes it: an in-toto statement about one platform, not signed."""
    document = json.dumps({
        "_type": "https://in-toto.io/Statement/v0.1", "predicateType": "https://slsa.dev/provenance/v0.2",
        "subject": [{"name": "pkg:docker/app?platform=linux%2Famd64", "digest": {"sha256": subject.split(":")[1]}}],
        "predicate": {"builder": {"id": ""}, "buildType": "https://mobyproject.org/buildkit@v1"},
    }).encode()
    layer = repository.put_blob(document, "application/vnd.in-toto+json")
    layer["annotations"] = {"in-toto.io/predicate-type": "https://slsa.dev/provenance/v0.2"}
    entry = manifest(repository, BUILDER, BUILDER, [layer], [layer["digest"]])
    entry["annotations"] = {"vnd.docker.reference.digest": subject, "vnd.docker.reference.type": "attestation-manifest"}
    return entry


def manifest(repository, architecture, system, layers, diff_ids):
    platform = {"architecture": architecture, "os": system}
    config = {**platform, "config": {}, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    config = repository.put_blob(json.dumps(config).encode(), OCI + "config.v1+json")
    document = {"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers}
    return {**repository.put_manifest(document), "platform": platform}
