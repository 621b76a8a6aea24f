"""Makes the test images, from nothing but a static busybox, and signs them."""

import io
import json
import tarfile
from dataclasses import dataclass

TAG = ":1.0"
SIGN = ["--yes", "--allow-http-registry", "--tlog-upload=false", "--use-signing-config=false"]
BUNDLE, CLASSIC = [], ["--new-bundle-format=false"]


@dataclass
class Image:
    upstream: str     # name of the registry
    repository: str   # each image has a repository of its own
    index: str        # "@sha256:…" of what the tag points to
    platform: str     # "@sha256:…" of its linux/amd64 manifest
    greeting: str     # what the amd64 image prints

    def __str__(self):
        return f"{self.upstream}/{self.repository}"


class Maker:
    """Builds in one registry. Platform images start in a repository `parts`: only indexes get tags."""

    def __init__(self, workspace, registry):
        self.workspace, self.registry = workspace, registry
        self.crane = workspace.tools / "crane/crane"
        self.cosign = workspace.tools / "cosign/cosign"

    def image(self, repository):
        """A multi-platform index; every image has layers of its own."""
        greeting = f"hello from {self.registry.name}/{repository}"
        parts = [self._platform(repository, greeting, arch) for arch in ("amd64", "arm64")]
        return self._index(repository, greeting, parts)

    def signed(self, repository, key, layout):
        image = self.image(repository)
        self.sign(image, key, layout)
        return image

    def sign(self, image, key, layout):
        name = f"{self.registry.address}/{image.repository}{image.index}"
        self.workspace.must(self.cosign, "sign", *SIGN, *layout, "--key", key, name)

    def replace_amd64(self, image):
        """What an attacker with push rights does: the tag's index gets another amd64 manifest,
        the old index and its signature stay where they are."""
        arm64 = f"{self.registry.address}/{image.repository}@{self._children(image.index, image.repository)['arm64']}"
        evil = f"evil twin of {image}"
        return self._index(image.repository, evil, [self._platform(image.repository, evil, "amd64"), arm64])

    def _platform(self, repository, greeting, arch):
        name = f"{self.registry.address}/parts:{repository}-{arch}"
        layer = self.workspace.root / "tmp/layer.tar"
        # The arm64 image carries the same program: nothing runs it, only its label differs.
        write_layer(layer, greeting if arch == "amd64" else f"{greeting} ({arch})")
        must = self.workspace.must
        must(self.crane, "append", self._flag(), "-f", layer, "-t", name)
        must(self.crane, "mutate", "--entrypoint", "/bin/busybox,cat,/greeting", "--set-platform", f"linux/{arch}", "-t", name, name)
        return name

    def _index(self, repository, greeting, parts):
        name = f"{self.registry.address}/{repository}{TAG}"
        manifests = [word for part in parts for word in ("-m", part)]
        self.workspace.must(self.crane, "index", "append", *self._index_flag(), *manifests, "-t", name)
        index = "@" + self.workspace.must(self.crane, "digest", name)
        platform = "@" + self._children(index, repository)["amd64"]
        return Image(self.registry.name, repository, index, platform, greeting)

    def _children(self, index, repository):
        text = self.workspace.must(self.crane, "manifest", f"{self.registry.address}/{repository}{index}")
        return {m["platform"]["architecture"]: m["digest"] for m in json.loads(text)["manifests"]}

    def _flag(self):
        return "--oci-empty-base" if self.registry.media_types == "oci" else "--oci-empty-base=false"

    def _index_flag(self):
        return ["--docker-empty-base"] if self.registry.media_types == "docker" else []


def write_layer(path, greeting):
    with tarfile.open(path, "w") as tar:
        tar.add("/bin/busybox", "bin/busybox")
        data = (greeting + "\n").encode()
        entry = tarfile.TarInfo("greeting")
        entry.size, entry.mode = len(data), 0o644
        tar.addfile(entry, io.BytesIO(data))


@dataclass
class Images:
    signed: list     # good ones, in every signature layout
    originals: list  # good ones whose tag points elsewhere by now: their digests must still come through
    refused: list    # (what is wrong, image, reference): no client may get these
    public_key: object


def make(workspace, registries):
    ours, other = key_pair(workspace, "ours"), key_pair(workspace, "other")
    images = Images([], [], [], ours.with_suffix(".pub"))
    for registry in registries:
        maker = Maker(workspace, registry)
        images.signed.append(maker.signed("signed-bundle", ours, BUNDLE))
        images.signed.append(maker.signed("signed-classic", ours, CLASSIC))

        unsigned = maker.image("unsigned")
        stranger = maker.signed("other-key", other, BUNDLE)
        original = maker.signed("replaced", ours, BUNDLE)
        evil = maker.replace_amd64(original)
        images.originals.append(original)
        images.refused += [
            ("unsigned", unsigned, TAG),
            ("signed by another key", stranger, TAG),
            ("replaced platform, by tag", evil, TAG),
            ("replaced platform, by its digest", evil, evil.platform),
        ]
    return images


def key_pair(workspace, name):
    prefix = workspace.root / name
    workspace.must(workspace.tools / "cosign/cosign", "generate-key-pair", "--output-key-prefix", prefix)
    return prefix.with_suffix(".key")
