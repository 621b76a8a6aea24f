"""A client that costs little: CLIENTS connections ask for the same path at the same moment.

    python3 stream.py HOST:PORT PATH CLIENTS HASHING

The bodies are dropped in the kernel (MSG_TRUNC), so that on a small machine the client does not slow
down what it measures; HASHING of the clients, in processes of their own, read and hash theirs.
Prints a list of {"status", "length", "sha256", "first", "last"}: moments in seconds after the start.
"""

import hashlib
import json
import multiprocessing
import selectors
import socket
import sys
import time

PIECE = 1024 * 1024
SILENCE = 60  # seconds without a byte for anybody: give up instead of hanging


class Client:
    def __init__(self, address, path, hashing):
        self.socket = socket.create_connection(address, timeout=SILENCE)
        self.request = f"GET /v2/{path} HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n\r\n".encode()
        self.head, self.want, self.got = b"", None, 0
        self.status = self.first = self.last = None
        self.hasher = hashlib.sha256() if hashing else None

    def send(self):
        self.socket.sendall(self.request)
        self.socket.setblocking(False)

    def read(self, buffer):
        """Takes what is there. False when the answer has ended, well or not."""
        try:
            if self.want is None:
                return self.read_head()
            flags = 0 if self.hasher else socket.MSG_TRUNC
            got = self.socket.recv_into(buffer, min(PIECE, self.want - self.got), flags)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return self.take(got, memoryview(buffer)[:got] if self.hasher else None)

    def read_head(self):
        piece = self.socket.recv(4096)
        self.head += piece
        head, end, body = self.head.partition(b"\r\n\r\n")
        if not end:
            return bool(piece)
        lines = head.decode("latin-1").split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines[1:])
        self.status, self.want = int(lines[0].split()[1]), int(headers["content-length"])
        return self.take(len(body), body) if body else self.want > 0

    def take(self, got, piece):
        if not got:
            return False
        self.last = time.monotonic()
        self.first = self.first or self.last
        self.got += got
        if self.hasher:
            self.hasher.update(piece)
        return self.got < self.want

    def result(self, start):
        sha256 = self.hasher.hexdigest() if self.hasher else None
        since = lambda moment: moment and moment - start
        return {"status": self.status, "length": self.got, "sha256": sha256,
                "first": since(self.first), "last": since(self.last)}


def talk(clients, start, out=None):
    buffer, selector = bytearray(PIECE), selectors.DefaultSelector()
    time.sleep(max(0, start - time.monotonic()))
    for client in clients:
        client.send()
        selector.register(client.socket, selectors.EVENT_READ, client)
    while selector.get_map():
        ready = selector.select(SILENCE)
        if not ready:
            break
        for key, _ in ready:
            if not key.data.read(buffer):
                selector.unregister(key.fileobj)
                key.fileobj.close()
    results = [client.result(start) for client in clients]
    if out:
        out.put(results)
    return results


def main():
    server, path, count, hashing = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    host, port = server.rsplit(":", 1)
    clients = [Client((host, int(port)), path, number < hashing) for number in range(count)]
    start, out = time.monotonic() + 0.3, multiprocessing.Queue()
    children = [multiprocessing.Process(target=talk, args=([one], start, out)) for one in clients[:hashing]]
    for child in children:
        child.start()
    results = talk(clients[hashing:], start)
    for _ in children:
        results += out.get(timeout=SILENCE)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
