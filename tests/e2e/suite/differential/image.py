"""An image with everything that carries its signatures, in memory and open to change."""

import base64
import hashlib
import json
from dataclasses import dataclass, field

BUNDLE, SIGNATURE, ATTESTATION = "bundle", "signature", "attestation"
TAG_ENDS = {SIGNATURE: ".sig", ATTESTATION: ".att"}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
TWIN = "\ue000"   # at the end of a key in our documents: written without it, so that the key stands there twice


def digest_of(content):
    return "sha256:" + hashlib.sha256(content).hexdigest()


def dumped(document, **options):
    options = {"separators": (",", ":"), **options}
    return json.dumps(document, ensure_ascii=False, **options).replace(TWIN, "").encode()


@dataclass
class Carrier:
    """A manifest whose layers are signatures: a referrer with one bundle, or a classic tag's."""

    kind: str
    manifest: dict
    contents: list                             # of bytes: the layers'
    lies: dict = field(default_factory=dict)   # number of a layer -> what its descriptor says instead of the truth
    raw: bytes = None                          # the manifest as it is served, in place of `manifest`

    def layer(self, number):
        return self.manifest["layers"][number]

    def sealed(self):
        """The manifest's bytes, with descriptors that fit the contents."""
        if self.raw is not None:
            return self.raw
        for number, content in enumerate(self.contents):
            truth = {"digest": digest_of(content), "size": len(content)}
            self.layer(number).update(truth | self.lies.get(number, {}))
        return dumped(self.manifest)


@dataclass
class Image:
    subject: bytes     # the manifest or index that is asked about
    media_type: str
    carriers: list
    referrers_api: bool = True

    @property
    def digest(self):
        return digest_of(self.subject)

    def of_kind(self, kind):
        return [carrier for carrier in self.carriers if carrier.kind == kind]

    def published(self):
        """What a registry holds: manifests by digest (type and bytes), tags, blobs by digest, and the referrers' index."""
        manifests, tags, blobs, referring = {self.digest: (self.media_type, self.subject)}, {}, {}, []
        for carrier in self.carriers:
            sealed = carrier.sealed()
            manifests[digest_of(sealed)] = (MANIFEST, sealed)
            blobs |= {digest_of(content): content for content in [*carrier.contents, b"{}"]}
            if carrier.kind == BUNDLE:
                referring.append(descriptor(sealed))
            else:
                tags[self.digest.replace(":", "-") + TAG_ENDS[carrier.kind]] = digest_of(sealed)
        index = dumped({"schemaVersion": 2, "mediaType": INDEX, "manifests": referring})
        if referring and not self.referrers_api:
            manifests[digest_of(index)] = (INDEX, index)
            tags[self.digest.replace(":", "-")] = digest_of(index)
        return Published(manifests, tags, blobs, index if self.referrers_api else None)


@dataclass
class Published:
    manifests: dict
    tags: dict
    blobs: dict
    referrers: bytes   # None where the registry has no such API


def descriptor(manifest):
    found = {"mediaType": MANIFEST, "digest": digest_of(manifest), "size": len(manifest)}
    try:
        parsed = json.loads(manifest)
        found |= {key: parsed[key] for key in ("artifactType", "annotations") if key in parsed}
        found.setdefault("artifactType", parsed["config"].get("artifactType", parsed["config"]["mediaType"]))
    except (ValueError, LookupError, TypeError, AttributeError):
        pass   # mutated beyond that
    return found


def b64(content):
    return base64.b64encode(content).decode()
