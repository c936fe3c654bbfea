"""What a client's request and the receiver of its answer look like."""

from __future__ import annotations

from typing import Protocol

from faasd_py.http.relay import End


class Source(Protocol):
    """A body that is still arriving."""

    async def read(self) -> bytes:
        """The next piece, at most 256 KiB; empty at the end."""


class Reply(Protocol):
    """Where an answer goes: `answer`; or `start`, any number of `write`, `end`; or `tunnel`."""

    async def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer at once."""

    async def start(self, status: int, headers: bytes, length: int | None) -> None:
        """Status and headers; the body follows."""

    async def write(self, data: bytes) -> None:
        """A piece of the body."""

    async def end(self) -> None:
        """The body is complete."""

    async def tunnel(self, headers: bytes, wire: End) -> None:
        """The peer switched protocols."""


class Request:
    """One request as it is sent. `headers` include Host, and Content-Length when `length` is not None and not 0."""

    __slots__ = ("body", "headers", "length", "method", "source", "target", "upgrade")

    def __init__(
        self,
        method: bytes,
        target: bytes,
        headers: bytes,
        body: bytes | None,
        length: int | None,
        source: Source | None,
        upgrade: bytes,
    ) -> None:
        self.method = method
        self.target = target
        self.headers = headers
        self.body = body
        self.length = length
        self.source = source if body is None and length != 0 else None
        if body is None and self.source is None:
            self.body, self.length = b"", 0
        self.upgrade = upgrade

    def opening(self) -> bytes:
        """What goes out in the first send: the head, and the body when it is at hand."""
        framing = b""
        if self.length is None:
            framing = (
                b"Transfer-Encoding: chunked\r\n" if self.body is None else b"Content-Length: %d\r\n" % len(self.body)
            )
        if self.upgrade:
            framing += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % self.upgrade
        return b"%b %b HTTP/1.1\r\n%b%b\r\n%b" % (
            self.method, self.target, self.headers, framing, self.body or b"",
        )  # fmt: skip
