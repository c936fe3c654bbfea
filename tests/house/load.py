"""A load of asynchronous calls that keeps its own books: what was accepted, what was refused, what nobody knows."""

from __future__ import annotations

import re
import socket
import threading
from collections.abc import Callable

from tests.house.wire import dial

STATUS = re.compile(rb"HTTP/1\.1 (\d+)[^\r]*\r\n")
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Books:
    """Call ids by what the gateway said; a call whose answer never came may have been kept or not."""

    def __init__(self) -> None:
        self.accepted: set[str] = set()
        self.refused: set[str] = set()
        self.unknown: set[str] = set()

    def note(self, call: str, status: int | None) -> None:
        """Write down what became of a call; None: the connection broke."""
        book = self.unknown if status is None else self.accepted if status == 202 else self.refused
        book.add(call)

    def __repr__(self) -> str:
        return f"{len(self.accepted)} accepted, {len(self.refused)} refused, {len(self.unknown)} unknown"


def post(wire: socket.socket, target: str, call: str, body: bytes, fields: str = "") -> int:
    """One POST on an open connection; its status."""
    head = f"POST {target} HTTP/1.1\r\nHost: x\r\nX-Call-Id: {call}\r\nContent-Length: {len(body)}\r\n{fields}\r\n"
    wire.sendall(head.encode() + body)
    data = b""
    while (end := data.find(b"\r\n\r\n")) < 0:
        if not (more := wire.recv(65536)):
            raise ConnectionResetError
        data += more
    length = int(found[1]) if (found := LENGTH.search(data[:end])) else 0
    while len(data) < end + 4 + length:
        if not (more := wire.recv(65536)):
            raise ConnectionResetError
        data += more
    match = STATUS.match(data)
    assert match, data
    return int(match[1])


class Loader:
    """Threads that put calls one after another until they are told to stop or the daemon goes away."""

    def __init__(
        self,
        port: int,
        books: Books,
        names: list[list[str]],
        request: Callable[[str], tuple[str, bytes, str]],
    ) -> None:
        """`names` are the call ids of each thread; `request` gives target, body and header lines for an id."""
        self.books = books
        self._port = port
        self._request = request
        self._threads = [threading.Thread(target=self._run, args=(calls,)) for calls in names]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(60)

    def _run(self, calls: list[str]) -> None:
        try:
            with dial(self._port, 30) as wire:
                for call in calls:
                    target, body, fields = self._request(call)
                    self._one(wire, target, call, body, fields)
        except OSError:
            return

    def _one(self, wire: socket.socket, target: str, call: str, body: bytes, fields: str) -> None:
        try:
            status = post(wire, target, call, body, fields)
        except OSError:
            self.books.note(call, None)
            raise
        self.books.note(call, status)
