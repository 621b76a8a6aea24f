"""A repository of a registry, over plain HTTP: what the suite puts there, and asks for, by itself."""

import hashlib
import http.client
import json
from dataclasses import dataclass

OCI = "application/vnd.oci.image."
MANIFEST, INDEX = OCI + "manifest.v1+json", OCI + "index.v1+json"
TIMEOUT_S = 40


@dataclass
class Answer:
    status: int
    headers: dict   # names in lower case
    body: bytes


class Repository:
    def __init__(self, address, path):
        self.address, self.path = address, path   # "host:port", "app"

    def get(self, kind, reference):
        """Whatever the answer is. `kind` is "manifests", "blobs" or "referrers"."""
        return self._call("GET", f"/v2/{self.path}/{kind}/{reference}")

    def content(self, kind, reference):
        answer = self.get(kind, reference)
        if answer.status != 200:
            raise RuntimeError(f"{self.address}/{self.path}: {kind} {reference}: {answer.status} {answer.body[:200]}")
        return answer.body

    def manifest(self, reference):
        return json.loads(self.content("manifests", reference))

    def referrers(self, digest):
        """Descriptors, from the API, or from the tag where there is none."""
        answer = self.get("referrers", digest)
        if answer.status != 200:
            answer = self.get("manifests", tag_of(digest))
        return json.loads(answer.body)["manifests"] if answer.status == 200 else []

    def put_blob(self, data, media_type):
        begun = self._must("POST", f"/v2/{self.path}/blobs/uploads/", 202)
        place = begun.headers["location"]
        place = place.split(self.address, 1)[-1]   # some registries answer with a whole url
        digest = digest_of(data)
        joint = "&" if "?" in place else "?"
        self._must("PUT", f"{place}{joint}digest={digest}", 201, data, "application/octet-stream")
        return {"mediaType": media_type, "digest": digest, "size": len(data)}

    def put_manifest(self, document, reference=None):
        data = json.dumps(document, separators=(",", ":")).encode()
        digest, media_type = digest_of(data), document["mediaType"]
        answer = self._must("PUT", f"/v2/{self.path}/manifests/{reference or digest}", 201, data, media_type)
        descriptor = {"mediaType": media_type, "digest": digest, "size": len(data)}
        # A registry that keeps no list of referrers does not say this; then it is ours to keep.
        if "subject" in document and "oci-subject" not in answer.headers:
            self._list_as_referrer(document["subject"]["digest"], descriptor | {"artifactType": document.get("artifactType", "")})
        return descriptor

    def _list_as_referrer(self, subject, descriptor):
        entries = [entry for entry in self.referrers(subject) if entry["digest"] != descriptor["digest"]]
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [*entries, descriptor]}
        self.put_manifest(index, tag_of(subject))

    def _must(self, method, path, status, data=b"", media_type=None):
        answer = self._call(method, path, data, media_type)
        if answer.status != status:
            raise RuntimeError(f"{method} {self.address}{path}: {answer.status} {answer.body[:200]}")
        return answer

    def _call(self, method, path, data=None, media_type=None):
        headers = {"Accept": f"{INDEX}, {MANIFEST}, */*"}
        if media_type:
            headers["Content-Type"] = media_type
        connection = http.client.HTTPConnection(self.address, timeout=TIMEOUT_S)
        try:
            connection.request(method, path, data, headers)
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def tag_of(digest, suffix=""):
    """Where cosign looks for what belongs to this digest: the referrers tag, or with ".sig", ".att" the classic one."""
    return digest.replace(":", "-") + suffix
