"""A server on the loopback address that plays the Hugging Face hub, well or badly."""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

COMMIT = "c0" * 20


@dataclass
class Hub:
    """What it serves and how.

    Attributes
    ----------
    address
        To be used as the hub's.
    files
        By path: ``owner/name/file``.
    manner
        ``"well"``, or how it misbehaves when asked for the weights; see `Handler`.
    pause
        Seconds between the pieces it sends.
    pieces
        How many they are.
    asked
        Paths that were asked for.
    token
        What those who ask must send; empty if anybody may ask.
    elsewhere
        Address of another host that keeps the files; empty if it keeps them itself.
    authorized
        What was sent as authorization with each question.
    """

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    manner: str = "well"
    pause: float = 0.0
    pieces: int = 20
    commit: str = COMMIT
    asked: list[str] = field(default_factory=list)
    token: str = ""
    elsewhere: str = ""
    authorized: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)


MANNERS = {
    "silent": "sends no data",
    "silent inside": "has stopped sending data",
    "drips": "the rate was below",
    "drips headers": "sends no data",
    "breaks off": "broke off after",
    "hangs up": "cannot be reached",
    "says less": "impossible size",
    "says more": "broke off after",
    "claims terabytes": "impossible size",
    "never ends": "sends more than the stated size",
    "sends other bytes": "checksum",
    "sends a page": "impossible size",
    "error 500": "error 500",
    "error 401": "error 401",
    "error 404": "no such file",
    "redirects for ever": "redirects too often",
    "redirects into the void": "cannot be read",
    "other commit": "commit",
    "climbs": "commit",
    "squeezes": "another encoding",
    "talks nonsense": "cannot be reached",
}
"""How it can misbehave, and words of what the reader is then told."""


class Handler(BaseHTTPRequestHandler):
    """``/owner/name/resolve/revision/file`` leads to ``/stored/owner/name/file``."""

    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        with suppress(OSError):
            self.serve()
        self.close_connection = True

    def serve(self) -> None:
        hub = self.hub
        hub.asked.append(self.path)
        hub.authorized.append(self.headers.get("Authorization", ""))
        if self.path.startswith("/stored/"):
            return self.send_content(hub.files[self.path.removeprefix("/stored/")])
        if hub.token and hub.authorized[-1] != f"Bearer {hub.token}":
            return self.send_error(401)
        owner, name, _, _, file = self.path.strip("/").split("/")
        path = f"{owner}/{name}/{file}"
        content = hub.files.get(path)
        weights = file.endswith(".safetensors")
        manner = hub.manner if weights else "well"
        if content is None or manner.startswith("error"):
            code = int(manner.split()[1]) if content is not None else 404
            return self.send_error(code)
        if manner == "silent":
            return self.rest()
        if manner == "drips headers":
            self.connection.sendall(b"HTTP/1.0 200 OK\r\nX-Long: ")
            return self.drip(b"x" * 10**6)
        if manner == "hangs up":
            return self.connection.shutdown(socket.SHUT_RDWR)
        if manner == "talks nonsense":
            return self.connection.sendall(b"\x00\xff 220 ready\r\n\r\n")
        where = f"{hub.elsewhere}/stored/{path}"
        if manner == "redirects for ever":
            where = self.path
        elif manner == "redirects into the void":
            where = "gopher://[:/"
        self.send_response(302)
        commit = {"other commit": "d1" * 19, "climbs": "../../../../up"}.get(manner, hub.commit)
        self.send_header("X-Repo-Commit", commit)
        self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        if weights:
            self.send_header("X-Linked-ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Location", where)
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def send_content(self, content: bytes) -> None:
        manner = self.hub.manner if self.path.endswith(".safetensors") else "well"
        sizes = {"says less": len(content) // 2, "claims terabytes": 10**13}
        if manner == "sends a page":
            content = b"<html>Please log in</html>"
        elif manner == "sends other bytes":
            content = content[:-1] + bytes([content[-1] ^ 1])
        self.send_response(200)
        if manner == "squeezes":
            self.send_header("Content-Encoding", "gzip")
        if manner != "never ends":
            self.send_header("Content-Length", str(sizes.get(manner, len(content))))
        self.end_headers()
        if manner in ("breaks off", "says more"):
            self.wfile.write(content[: len(content) // 2])
        elif manner == "silent inside":
            self.wfile.write(content[:1000])
            self.rest()
        elif manner == "drips":
            self.drip(content)
        elif manner == "never ends":
            while not self.hub.ended.is_set():
                self.wfile.write(content)
        else:
            step = max(1, len(content) // self.hub.pieces) if self.hub.pause else len(content)
            for start in range(0, len(content), step):
                self.wfile.write(content[start : start + step])
                self.hub.ended.wait(self.hub.pause)

    def drip(self, content: bytes) -> None:
        for byte in content:
            if self.hub.ended.wait(0.05):
                return
            self.connection.sendall(bytes([byte]))

    def rest(self) -> None:
        self.hub.ended.wait(60)


@contextmanager
def playing() -> Iterator[Hub]:
    """A hub that answers on the loopback address."""
    hub = Hub()
    handler = type("Own", (Handler,), {"hub": hub})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.ended.set()
        server.shutdown()
        server.server_close()
        thread.join()


def until(condition: Callable[[], Any], seconds: float) -> None:
    """Wait until a call returns something true, and fail after some seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)
