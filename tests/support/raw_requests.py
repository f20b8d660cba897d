"""Requests as no browser would let them be written: any Host, any Origin, any path, sent to a real server as bytes."""

import base64
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlencode


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, list[str]] = field(default_factory=dict)
    body: str = ""

    def header(self, name: str) -> str:
        return "\n".join(self.headers.get(name.lower(), []))

    @property
    def token(self) -> str:
        """The cookie of a browser that logged in, to be sent back; empty without one."""
        return self.header("set-cookie").split(";")[0]


def ask(
    port: int, path: str = "/", verb: str = "GET", host: str | None = None, body: bytes = b"", **headers: str
) -> Answer:
    """Ask and return the answer; names of headers have _ for -, and `host` is 127.0.0.1 with the port unless given."""
    lines = [f"{verb} {path} HTTP/1.1", f"Host: {f'127.0.0.1:{port}' if host is None else host}", "Connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return _sent(port, "\r\n".join(lines).encode() + b"\r\n\r\n" + body)


def socket_status(port: int, host: str | None = None, **headers: str) -> int:
    """Return the status with which the app answers the handshake of a WebSocket; 101 is an open one."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [
        "GET /_stcore/stream HTTP/1.1", f"Host: {f'127.0.0.1:{port}' if host is None else host}",
        "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Protocol: streamlit",
    ]  # fmt: skip
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall("\r\n".join(lines).encode() + b"\r\n\r\n")
        return int(sock.makefile("rb").readline().split()[1])


def log_in(port: int, password: str, onward: str = "/", **headers: str) -> Answer:
    """Send the form of the login."""
    form = urlencode({"password": password, "onward": onward}).encode()
    kind = "application/x-www-form-urlencoded"
    return ask(port, "/_icm/login", "POST", body=form, Content_Type=kind, **headers)


def _sent(port: int, request: bytes) -> Answer:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(request)
        answer = sock.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers.setdefault(name.strip().lower(), []).append(value.strip())
    return Answer(int(status.split()[1]), headers, body.decode("utf-8", "replace"))
