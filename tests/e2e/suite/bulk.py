"""Images of a wanted weight: random layers in an OCI layout, pushed with crane, signed with cosign."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass

from images import SIGN, TAG

MIB = 1024 * 1024
OCI = "application/vnd.oci.image."


@dataclass
class Blob:
    digest: str   # "sha256:…"
    size: int


@dataclass
class Bulk:
    upstream: str
    repository: str
    index: str      # "sha256:…" of what the tag points to; this is what is signed
    manifest: str   # of its only platform
    config: Blob
    layers: list

    def path(self, kind, reference):
        return f"{self.repository}/{kind}/{reference}"

    @property
    def blobs(self):
        return [self.config, *self.layers]


def make(workspace, registry, repository, sizes, key, layout):
    """A signed index with one platform, whose layers have these sizes in bytes."""
    folder = workspace.folder(f"layout-{repository}", empty=True)
    (folder / "blobs/sha256").mkdir(parents=True)
    layers = [write_random(folder, size) for size in sizes]
    config = write_json(folder, {
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest for layer in layers]},
    })
    manifest = write_json(folder, {
        "schemaVersion": 2, "mediaType": OCI + "manifest.v1+json",
        "config": descriptor("config.v1+json", config),
        "layers": [descriptor("layer.v1.tar", layer) for layer in layers],
    })
    entry = descriptor("manifest.v1+json", manifest) | {"platform": {"architecture": "amd64", "os": "linux"}}
    index = {"schemaVersion": 2, "mediaType": OCI + "index.v1+json", "manifests": [entry]}
    (folder / "index.json").write_text(json.dumps(index))
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')

    name = f"{registry.address}/{repository}"
    crane, cosign = workspace.tools / "crane/crane", workspace.tools / "cosign/cosign"
    workspace.must(crane, "push", "--index", folder, name + TAG)
    digest = workspace.must(crane, "digest", name + TAG)
    workspace.must(cosign, "sign", *SIGN, *layout, "--key", key, f"{name}@{digest}")
    shutil.rmtree(folder)
    return Bulk(registry.name, repository, digest, manifest.digest, config, layers)


def write_random(folder, size):
    """Random enough that nothing can be saved on it: one random MiB, numbered over and over."""
    block, digest, path = os.urandom(MIB - 8), hashlib.sha256(), folder / "blobs/new"
    with open(path, "wb") as out:
        for number in range((size + MIB - 1) // MIB):
            piece = (number.to_bytes(8, "big") + block)[: size - number * MIB]
            digest.update(piece)
            out.write(piece)
    return keep(folder, path, digest.hexdigest(), size)


def write_json(folder, value):
    data, path = json.dumps(value).encode(), folder / "blobs/new"
    path.write_bytes(data)
    return keep(folder, path, hashlib.sha256(data).hexdigest(), len(data))


def keep(folder, path, digest, size):
    path.rename(folder / "blobs/sha256" / digest)
    return Blob(f"sha256:{digest}", size)


def descriptor(kind, blob):
    return {"mediaType": OCI + kind, "digest": blob.digest, "size": blob.size}
