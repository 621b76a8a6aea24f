"""The two upstream registries, and what their access logs say they were asked."""

import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass

DOCKER, OCI = "docker", "oci"


def answers(url):
    """True once an HTTP server answers there, with 2xx or 401."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
        return True
    except urllib.error.HTTPError as error:
        return error.code == 401
    except OSError:
        return False


@dataclass
class Registry:
    name: str          # the upstream's name in assay's configuration and in clients' image names
    address: str       # host:port
    media_types: str   # of its images: both kinds must come through
    log: object

    def mark(self):
        """A place in the access log, for `asked_since`."""
        time.sleep(0.1)  # the line is written after the response
        return self.log.stat().st_size

    def asked_since(self, mark):
        time.sleep(0.1)
        with open(self.log, "rb") as log:
            log.seek(mark)
            lines = log.read().decode(errors="replace")
        return [f"{method} {path}" for method, path in re.findall(r"\b(GET|HEAD|POST|PUT|PATCH|DELETE) (/v2/\S*)", lines)]


def start(workspace):
    """plain.test: Debian's docker-registry 2.8, no referrers API. refs.test: with it."""
    plain = Registry("plain.test", "127.0.0.1:5001", DOCKER, workspace.root / "plain.log")
    config = workspace.root / "plain.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: warn}\n"
        f"storage: {{filesystem: {{rootdirectory: {workspace.folder('plain')}}}}}\n"
        f"http: {{addr: {plain.address}}}\n"
    )
    workspace.start("plain", ["docker-registry", "serve", config], lambda: answers(f"http://{plain.address}/v2/"))

    refs = Registry("refs.test", "127.0.0.1:5002", OCI, workspace.root / "refs.log")
    program = workspace.tools / "registry/registry"
    workspace.start("refs", [program, refs.address, workspace.folder("refs")], lambda: answers(f"http://{refs.address}/v2/"))
    return [plain, refs]
