"""The functions that RuntimeConformance calls, as one program with the standard library only.

python -I -S subject.py process NAME     body on stdin, answer on stdout, the request as Http_… variables
python -I -S subject.py serve            HTTP on $PORT or $UNIX_SOCKET; the name is in the header X-Subject

echo       answers the body, piece by piece as it comes
describe   answers what it saw of the request, as JSON
large      answers as many bytes as the body says, without reading on
early      answers without reading the body
slow       writes `begun` into the file that the body names, never answers, and writes `stopped` when it is stopped
fail       fails: exit status 3, or a 500
broken     serve only: promises more than it sends, and closes the connection
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import BinaryIO, Final

_PIECE: Final = 64 << 10
_FILL: Final = b"0123456789abcdef" * (_PIECE // 16)


def fill(size: int) -> Iterator[bytes]:
    """`size` bytes, in pieces."""
    while size > 0:
        yield _FILL[:size]
        size -= _PIECE


def note(path: bytes, word: str) -> None:
    """Write a word into a file at once: readers see the old or the new."""
    with open(path + b".new", "w", encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
        file.write(word)
    os.replace(path + b".new", path)  # noqa: PTH105


# -- as a process for each request


def as_process(name: str) -> int:
    """Answer on stdout; the exit status."""
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    if name == "echo":
        while piece := os.read(0, _PIECE):
            _write(piece)
    elif name == "describe":
        sink.write(json.dumps(_from_environment(source)).encode())
    elif name == "large":
        for piece in fill(int(source.read())):
            sink.write(piece)
    elif name == "early":
        sink.write(b"early")
    elif name == "slow":
        _be_slow(source.read())
    else:
        sys.stderr.write("it fails\n")
        return 3
    return 0


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]


def _from_environment(source: BinaryIO) -> dict[str, object]:
    seen = os.environ
    query = seen.get("Http_Query")
    return {
        "method": seen["Http_Method"],
        "target": seen["Http_Path"] + (f"?{query}" if query else ""),
        "host": seen.get("Http_Host", ""),
        "x-token": seen.get("Http_X_Token"),
        "call": seen.get("Http_X_Call_Id"),
        "size": len(source.read()),
    }


def _be_slow(path: bytes) -> None:
    def stopped(*_: object) -> None:
        note(path, "stopped")
        os._exit(0)

    signal.signal(signal.SIGTERM, stopped)
    note(path, "begun")
    while True:
        signal.pause()


# -- as a server


def serve() -> None:
    """Until killed."""
    path = os.environ.get("UNIX_SOCKET")
    if path:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(path)
    else:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", int(os.environ["PORT"])))
    listener.listen(256)
    while True:
        sock, _ = listener.accept()
        threading.Thread(target=converse, args=(sock,), daemon=True).start()


def converse(sock: socket.socket) -> None:
    """One connection: requests until one says, or is, the end."""
    with sock, sock.makefile("rb") as source:
        while request := Request.read(sock, source):
            if not request.answer():
                return


class Request:
    """One request, and the way to answer it."""

    def __init__(
        self, sock: socket.socket, source: BinaryIO, start: bytes, headers: dict[bytes, bytes]
    ) -> None:
        self.sock = sock
        self.source = source
        self.method, self.target, _ = start.split(b" ")
        self.headers = headers

    @classmethod
    def read(cls, sock: socket.socket, source: BinaryIO) -> Request | None:
        """The next head of the connection."""
        start = source.readline().rstrip()
        if not start:
            return None
        headers: dict[bytes, bytes] = {}
        while line := source.readline().rstrip():
            name, _, value = line.partition(b":")
            headers.setdefault(name.lower(), value.strip())
        return cls(sock, source, start, headers)

    def body(self) -> Iterator[bytes]:
        """Its pieces as they come."""
        if self.headers.get(b"transfer-encoding") != b"chunked":
            left = int(self.headers.get(b"content-length", b"0"))
            while left and (piece := self.source.read1(min(left, _PIECE))):  # type: ignore[attr-defined]
                left -= len(piece)
                yield piece
            return
        while size := int(self.source.readline(), 16):
            yield self.source.read(size)
            self.source.readline()
        self.source.readline()

    def answer(self) -> bool:
        """Whether the connection goes on."""
        name = self.headers.get(b"x-subject", b"echo").decode()
        act: Callable[[], bool] = getattr(self, "do_" + name)
        return act()

    def whole(self, body: bytes, status: bytes = b"200 OK") -> bool:
        """An answer at once. A HEAD's has no body."""
        head = b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        self.sock.sendall(head + (b"" if self.method == b"HEAD" else body))
        return True

    def do_echo(self) -> bool:
        """In chunks, as they come."""
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in self.body():
            self.sock.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
        self.sock.sendall(b"0\r\n\r\n")
        return True

    def do_describe(self) -> bool:
        """As JSON."""
        seen = {
            "method": self.method.decode(),
            "target": self.target.decode(),
            "host": self.headers.get(b"host", b"").decode(),
            "x-token": self.headers.get(b"x-token", b"").decode() or None,
            "call": self.headers.get(b"x-call-id", b"").decode() or None,
            "size": sum(len(piece) for piece in self.body()),
        }
        return self.whole(json.dumps(seen).encode())

    def do_large(self) -> bool:
        """With a Content-Length."""
        size = int(b"".join(self.body()))
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        for piece in fill(size):
            self.sock.sendall(piece)
        return True

    def do_early(self) -> bool:
        """The rest of the body is not read, so the connection ends."""
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nearly")
        self.sock.shutdown(socket.SHUT_WR)
        while self.sock.recv(_PIECE):
            pass
        return False

    def do_slow(self) -> bool:
        """The end of the connection stops it."""
        path = b"".join(self.body())
        note(path, "begun")
        with suppress(OSError):
            self.sock.recv(1)
        note(path, "stopped")
        return False

    def do_fail(self) -> bool:
        """As a server says it."""
        return self.whole(b"it failed", b"500 Internal Server Error")

    def do_broken(self) -> bool:
        """Half an answer."""
        self.sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        return False


if __name__ == "__main__":
    if sys.argv[1] == "process":
        code = as_process(sys.argv[2])
        sys.stdout.flush()
        sys.exit(code)
    serve()
