"""Pure. What a client's request looks like, where its body comes from and where its answer goes."""

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


def opening(
    method: bytes, target: bytes, headers: bytes, body: bytes | None, length: int | None, upgrade: bytes
) -> bytes:
    """What goes out in the first send: the head, and the body when it is at hand.

    `headers` include Host, and Content-Length when `length` is not None and not 0. Without a length a body that is
    at hand gets its Content-Length here, and one that is still arriving (`body` None) goes in chunks.
    """
    if length is None:
        if body is None:
            headers += b"Transfer-Encoding: chunked\r\n"
        else:
            headers += b"Content-Length: %d\r\n" % len(body)
    if upgrade:
        headers += b"Connection: Upgrade\r\nUpgrade: %b\r\n" % upgrade
    return b"%b %b HTTP/1.1\r\n%b\r\n%b" % (method, target, headers, body or b"")
