"""An OpenID Connect issuer with the identities that the cases need, and what Fulcio makes of them.

Each kind of identity has an issuer of its own, all behind one address and with one key. "email2" vouches for
the same addresses as "email": a rule must look at the issuer too.
"""

import base64
import http.server
import json
import threading
import time
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding

KINDS = ["email", "email2", "github", "gitlab"]
AUDIENCE = "sigstore"
LIFETIME_S = 600
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass(frozen=True)
class Identity:
    """Who signs: the issuer's kind, and the claims of the token."""

    kind: str
    claims: tuple   # of (name, value)


def email(address="release@acme.example", kind="email"):
    return Identity(kind, (("sub", address), ("email", address), ("email_verified", True)))


def github(repository="acme/app", ref="refs/tags/v1.0.0", workflow=None, event="push"):
    """`workflow` is the file that ran, with its repository and ref; a called one may be of another repository."""
    workflow = workflow or f"{repository}/.github/workflows/release.yml@{ref}"
    claims = {
        "sub": f"repo:{repository}:ref:{ref}", "repository": repository, "ref": ref, "sha": COMMIT,
        "ref_type": "tag" if ref.startswith("refs/tags/") else "branch",
        "workflow": "Release", "event_name": event,
        "job_workflow_ref": workflow, "job_workflow_sha": COMMIT,
        "workflow_ref": f"{repository}/.github/workflows/release.yml@{ref}", "workflow_sha": COMMIT,
        "runner_environment": "github-hosted", "repository_id": "100001",
        "repository_owner": repository.split("/")[0], "repository_owner_id": "200002",
        "repository_visibility": "public", "run_id": "300003", "run_attempt": "1", "actor": "octocat",
    }
    return Identity("github", tuple(claims.items()))


def gitlab(project="acme/app", ref="v1.0.0", ref_type="tag"):
    folder = "tags" if ref_type == "tag" else "heads"
    claims = {
        "sub": f"project_path:{project}:ref_type:{ref_type}:ref:{ref}",
        "project_path": project, "project_id": "100001", "namespace_path": project.split("/")[0],
        "namespace_id": "200002", "ref": ref, "ref_type": ref_type, "sha": COMMIT,
        "ci_config_ref_uri": f"gitlab.com/{project}//.gitlab-ci.yml@refs/{folder}/{ref}", "ci_config_sha": COMMIT,
        "runner_environment": "gitlab-hosted", "pipeline_source": "push", "pipeline_id": "300003",
        "job_id": "400004", "project_visibility": "public",
    }
    return Identity("gitlab", tuple(claims.items()))


class Issuer:
    def __init__(self, port, key_file):
        self.address = f"http://127.0.0.1:{port}"
        self.key = serialization.load_pem_private_key(key_file.read_bytes(), None)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), self._handler())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def url(self, kind):
        return f"{self.address}/{kind}"

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def token(self, identity):
        """RS256: cosign takes any other token on its command line for the name of a file."""
        now = int(time.time())
        claims = {"iss": self.url(identity.kind), "aud": AUDIENCE, "iat": now, "nbf": now - 5, "exp": now + LIFETIME_S}
        head = encode({"alg": "RS256", "typ": "JWT", "kid": "1"})
        signed = f"{head}.{encode(claims | dict(identity.claims))}"
        signature = self.key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{base64url(signature)}"

    def fulcio_configuration(self):
        """Fulcio accepts plain http, if all three urls are the same string."""
        kinds = {
            "github": {"type": "ci-provider", "ci-provider": "github-workflow"},
            "gitlab": {"type": "ci-provider", "ci-provider": "gitlab-pipeline"},
        }
        issuers = {
            self.url(kind): {"issuer-url": self.url(kind), "client-id": AUDIENCE, **kinds.get(kind, {"type": "email"})}
            for kind in KINDS
        }
        # YAML takes JSON, but as JSON Fulcio would look for other keys: the first line makes it YAML.
        return "---\n" + json.dumps({"oidc-issuers": issuers, "ci-issuer-metadata": CI_METADATA}, indent=1)

    def _handler(self):
        documents = {}
        for kind in KINDS:
            documents[f"/{kind}/.well-known/openid-configuration"] = self._discovery(self.url(kind))
            documents[f"/{kind}/jwks"] = self._keys()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                document = documents.get(self.path)
                body = json.dumps(document).encode()
                self.send_response(200 if document else 404)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        return Handler

    def _discovery(self, url):
        return {
            "issuer": url, "jwks_uri": f"{url}/jwks",
            "authorization_endpoint": f"{url}/auth", "token_endpoint": f"{url}/token",
            "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
        }

    def _keys(self):
        numbers = self.key.public_key().public_numbers()
        n, e = numbers.n.to_bytes(256, "big"), numbers.e.to_bytes(3, "big")
        return {"keys": [{"kty": "RSA", "alg": "RS256", "use": "sig", "kid": "1", "n": base64url(n), "e": base64url(e)}]}


def encode(document):
    return base64url(json.dumps(document).encode())


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# How Fulcio fills a certificate's extensions from the claims: the names are Fulcio's, the right side is
# a claim or a template. Certificates must carry what those of the public Fulcio carry.
CI_METADATA = {
    "github-workflow": {
        "default-template-values": {"url": "https://github.com", "environment": ""},
        "extension-templates": {
            "github-workflow-trigger": "event_name",
            "github-workflow-sha": "sha",
            "github-workflow-name": "workflow",
            "github-workflow-repository": "repository",
            "github-workflow-ref": "ref",
            "build-signer-uri": "{{ .url }}/{{ .job_workflow_ref }}",
            "build-signer-digest": "job_workflow_sha",
            "runner-environment": "runner_environment",
            "source-repository-uri": "{{ .url }}/{{ .repository }}",
            "source-repository-digest": "sha",
            "source-repository-ref": "ref",
            "source-repository-identifier": "repository_id",
            "source-repository-owner-uri": "{{ .url }}/{{ .repository_owner }}",
            "source-repository-owner-identifier": "repository_owner_id",
            "build-config-uri": "{{ .url }}/{{ .workflow_ref }}",
            "build-config-digest": "workflow_sha",
            "build-trigger": "event_name",
            "run-invocation-uri": "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}/attempts/{{ .run_attempt }}",
            "source-repository-visibility-at-signing": "repository_visibility",
            "deployment-environment": "environment",
        },
        "subject-alternative-name-template": "{{ .url }}/{{ .job_workflow_ref }}",
    },
    "gitlab-pipeline": {
        "default-template-values": {"url": "https://gitlab.com", "environment": ""},
        "extension-templates": {
            "build-signer-uri": "https://{{ .ci_config_ref_uri }}",
            "build-signer-digest": "ci_config_sha",
            "runner-environment": "runner_environment",
            "source-repository-uri": "{{ .url }}/{{ .project_path }}",
            "source-repository-digest": "sha",
            "source-repository-ref": 'refs/{{if eq .ref_type "branch"}}heads/{{ else }}tags/{{end}}{{ .ref }}',
            "source-repository-identifier": "project_id",
            "source-repository-owner-uri": "{{ .url }}/{{ .namespace_path }}",
            "source-repository-owner-identifier": "namespace_id",
            "build-config-uri": "https://{{ .ci_config_ref_uri }}",
            "build-config-digest": "ci_config_sha",
            "build-trigger": "pipeline_source",
            "run-invocation-uri": "{{ .url }}/{{ .project_path }}/-/jobs/{{ .job_id }}",
            "source-repository-visibility-at-signing": "project_visibility",
            "deployment-environment": "environment",
        },
        "subject-alternative-name-template": "https://{{ .ci_config_ref_uri }}",
    },
}
