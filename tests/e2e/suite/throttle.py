"""A slow line: passes HTTP requests on to a registry, at so many bytes a second over all connections.

    line = Throttle("127.0.0.1:5003", "127.0.0.1:5001")
    line.rate = 50_000_000   # None: as fast as it goes
    line.down = True         # every connection is closed without an answer
"""

import http.client
import http.server
import threading
import time

PIECE = 64 * 1024


class Throttle:
    def __init__(self, address, registry):
        self.registry, self.rate, self.down = registry, None, False
        self.lock, self.free_at = threading.Lock(), 0.0
        self.running = set()    # paths of the blobs that are on their way at this moment
        self.ended = 0          # blobs that were sent to the end
        self.asked = 0          # requests so far, also those that got no answer
        host, port = address.split(":")
        self.server = Server((host, int(port)), Handler)
        self.server.line = self
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def wait_for(self, count):
        """Holds back until the line is free for so many bytes more."""
        if not self.rate:
            return
        with self.lock:
            self.free_at = max(self.free_at, time.monotonic()) + count / self.rate
            wait = self.free_at - time.monotonic()
        if wait > 0:
            time.sleep(wait)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request, client_address):
        pass    # the client was killed: that is what we are here for


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        line = self.server.line
        line.asked += 1
        if line.down:
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection(line.registry, timeout=30)
        try:
            upstream.request(self.command, self.path, headers={"Accept": self.headers.get("Accept", "*/*")})
            self.pass_on(line, upstream.getresponse())
        finally:
            upstream.close()

    do_HEAD = do_GET

    def pass_on(self, line, answer):
        self.send_response_only(answer.status)
        for name in ("Content-Type", "Content-Length", "Docker-Content-Digest"):
            if answer.getheader(name):
                self.send_header(name, answer.getheader(name))
        if not answer.getheader("Content-Length"):
            self.send_header("Connection", "close")
        self.end_headers()
        is_blob = "/blobs/" in self.path and self.command == "GET"
        if is_blob:
            line.running.add(self.path)
        try:
            while piece := answer.read(PIECE):
                line.wait_for(len(piece))
                self.wfile.write(piece)
            line.ended += is_blob
        finally:
            line.running.discard(self.path)

    def log_message(self, *_):
        pass
