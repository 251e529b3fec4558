"""A server on the loopback address that answers as badly as the path it is asked for says."""

import contextlib
import gzip
import http.server
import threading
import time

import numpy as np

from tests.test_idx import OFFICIAL

NAME = "images.gz"
CONTENT = gzip.compress(np.random.default_rng(0).integers(0, 256, 300_000, dtype="uint8").tobytes(), mtime=0)


class Server(http.server.BaseHTTPRequestHandler):
    """Answers /BEHAVIOUR/images.gz as its first part says."""

    protocol_version = "HTTP/1.1"
    release = threading.Event()
    asked: list = []  # noqa: RUF012

    def do_GET(self):
        behaviour = self.path.split("/")[1]
        self.asked.append(behaviour)
        self.close_connection = True
        with contextlib.suppress(ConnectionError):  # the client may leave
            getattr(self, behaviour.replace("-", "_"))()

    def answer(self, body, status=200, promised=None, **headers):
        self.send_response(status)
        self.send_header("Connection", "close")
        if promised is not None:
            self.send_header("Content-Length", str(promised))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def right(self):
        self.answer(CONTENT, promised=len(CONTENT))

    def right_as_encoding(self):
        self.answer(CONTENT, promised=len(CONTENT), Content_Encoding="gzip")

    def right_after_a_redirect(self):
        self.answer(b"", 302, 0, Location=f"/right/{NAME}")

    def official(self):
        body = (OFFICIAL / self.path.removeprefix("/official/")).read_bytes()
        self.answer(body, promised=len(body))

    def slow(self):
        self.answer(CONTENT[: 2**16], promised=len(CONTENT))
        self.wfile.flush()
        self.release.wait(30)
        self.wfile.write(CONTENT[2**16 :])

    def truncated(self):
        self.answer(CONTENT[:1000], promised=len(CONTENT))

    def truncated_without_length(self):
        self.answer(CONTENT[:1000])

    def endless(self):
        self.answer(b"")
        while True:
            self.wfile.write(bytes(2**16))

    def stalled(self):
        self.answer(CONTENT[:1000], promised=len(CONTENT))
        self.release.wait(30)

    def silent(self):
        self.release.wait(30)

    def trickling(self):
        self.answer(b"", promised=len(CONTENT))
        for byte in CONTENT:
            self.wfile.write(bytes([byte]))
            time.sleep(0.05)

    def corrupt(self):
        self.answer(CONTENT[:5000] + bytes([CONTENT[5000] ^ 1]) + CONTENT[5001:], promised=len(CONTENT))

    def html(self):
        self.answer(b"<!DOCTYPE html>" + b" " * 2000, Content_Type="text/html")

    def missing(self):
        self.answer(b"no", 404, 2)

    def broken(self):
        self.answer(b"no", 500, 2)

    def redirect_to_http(self):
        self.answer(b"", 302, 0, Location=f"http://127.0.0.1:{self.server.server_port}/right/{NAME}")

    def redirect_with_an_endless_body(self):
        self.answer(b"", 302, Location=f"/right/{NAME}")
        while True:
            self.wfile.write(bytes(2**16))

    def redirect_to_itself(self):
        self.answer(b"", 302, 0, Location=self.path)

    def redirect_to_a_file(self):
        self.answer(b"", 302, 0, Location="file:///etc/hosts")

    def log_message(self, format, *args):
        pass
