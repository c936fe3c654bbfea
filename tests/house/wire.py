"""HTTP as a stranger speaks it: whole requests by http.client, and hand-written bytes over a socket."""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any


class Answer:
    """A status, headers (first value by lower-case name, all as `pairs`) and a body."""

    def __init__(self, status: int, pairs: list[tuple[str, str]], body: bytes) -> None:
        self.status = status
        self.pairs = pairs
        self.headers = {name.lower(): value for name, value in reversed(pairs)}
        self.body = body

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<Answer {self.status} {self.headers} {self.body[:300]!r}>"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def ask(
    port: int,
    method: str,
    target: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
    *,
    timeout: float = 30.0,
    host: str = "127.0.0.1",
) -> Answer:
    """One request on a connection of its own, and its answer."""
    with closing(http.client.HTTPConnection(host, port, timeout=timeout)) as connection:
        return ask_on(connection, method, target, body, headers)


def ask_on(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | Iterable[bytes] | None = None,
    headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
) -> Answer:
    """One request on a connection that goes on, and its answer. A body in pieces is sent chunked."""
    pairs = list(headers.items() if isinstance(headers, Mapping) else headers)
    names = {name.lower() for name, _ in pairs}
    connection.putrequest(method, target, skip_host="host" in names, skip_accept_encoding=True)
    for name, value in pairs:
        connection.putheader(name, value)
    if isinstance(body, bytes):
        connection.putheader("Content-Length", str(len(body)))
    elif body is not None:
        connection.putheader("Transfer-Encoding", "chunked")
    with suppress(BrokenPipeError, ConnectionResetError):  # an early answer: it is there to be read
        connection.endheaders(body, encode_chunked=body is not None and not isinstance(body, bytes))
    response = connection.getresponse()
    return Answer(response.status, response.getheaders(), response.read())


def dial(port: int, timeout: float = 20.0, host: str = "127.0.0.1") -> socket.socket:
    """A connection for hand-written bytes."""
    wire = socket.create_connection((host, port), timeout)
    wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return wire


def until_bytes(wire: socket.socket, mark: bytes) -> bytes:
    """Everything up to and with `mark`; an error if the other side goes before."""
    data = bytearray()
    while mark not in data[-65536 - len(mark) :]:
        more = wire.recv(65536)
        assert more, f"closed before {mark!r}: {bytes(data[-300:])!r}"
        data += more
    return bytes(data)


def until_close(wire: socket.socket) -> bytes:
    """Everything until the other side closes; a reset is a close."""
    data = bytearray()
    with suppress(ConnectionResetError):
        while more := wire.recv(65536):
            data += more
    return bytes(data)


def shout(port: int, data: bytes, timeout: float = 20.0) -> bytes:
    """Send these bytes and return all that comes until the other side closes."""
    with dial(port, timeout) as wire:
        with suppress(OSError):
            wire.sendall(data)
        return until_close(wire)


def statuses(data: bytes) -> list[int]:
    """The statuses of the answers in these bytes, as far as their heads show."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", data)]
