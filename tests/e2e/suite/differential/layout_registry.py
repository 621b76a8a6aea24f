"""A registry on loopback that serves images from memory, each in a repository of its own. Read only."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from .image import INDEX, digest_of


class LayoutRegistry:
    """`with LayoutRegistry() as registry: registry.add("case-000001", image.published())`."""

    def __init__(self):
        self.repositories = {}
        handler = type("Handler", (_Handler,), {"repositories": self.repositories})
        self.server = _Server(("127.0.0.1", 0), handler)
        self.address = "127.0.0.1:%d" % self.server.server_port

    def __enter__(self):
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def add(self, name, published):
        self.repositories[name] = published

    def remove(self, name):
        del self.repositories[name]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, *_):
        """A client that went away: cosign does at its end."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30
    repositories = {}

    def do_GET(self):
        path = self.path.split("?")[0].removeprefix("/v2/")
        if not path:
            return self._answer(200, "application/json", b"{}")
        try:
            name, kind, reference = path.rsplit("/", 2)
            content_type, content = self._found(self.repositories[name], kind, reference)
        except (KeyError, ValueError):
            return self._answer(404, "application/json", b'{"errors":[{"code":"NOT_FOUND"}]}')
        self._answer(200, content_type, content)

    do_HEAD = do_GET

    def _found(self, repository, kind, reference):
        if kind == "manifests":
            return repository.manifests[repository.tags.get(reference, reference)]
        if kind == "blobs":
            return "application/octet-stream", repository.blobs[reference]
        if kind == "referrers" and repository.referrers is not None:
            return INDEX, repository.referrers
        raise KeyError(kind)

    def _answer(self, status, content_type, content):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        if status == 200:
            self.send_header("Docker-Content-Digest", digest_of(content))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_):
        pass
