"""Bodies as they arrive, on either end. Each reads exactly its own bytes from the link and leaves the rest there."""

from __future__ import annotations

from faasd_py.http.chunked import Dechunker
from faasd_py.http.link import Link
from faasd_py.http.wire import LARGE


class BodyCut(Exception):
    """The other side closed before the body was complete."""


class FixedBody:
    """So many bytes (Content-Length)."""

    __slots__ = ("_link", "left")

    def __init__(self, link: Link, length: int) -> None:
        self._link = link
        self.left = length

    @property
    def done(self) -> bool:
        """Everything was read."""
        return not self.left

    async def read(self) -> bytes:
        """The next piece, at most LARGE bytes; empty at the end."""
        if not self.left:
            return b""
        data = await self._link.receive(min(self.left, LARGE))
        if not data:
            raise BodyCut
        self.left -= len(data)
        return data


class ChunkedBody:
    """Chunks up to the last one; extensions and trailers are dropped."""

    __slots__ = ("_link", "_pieces", "done")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._pieces = Dechunker()
        self.done = False

    async def read(self) -> bytes:
        """The next piece, at most LARGE bytes; empty at the end."""
        while not self.done:
            data = await self._link.receive(LARGE)
            if not data:
                raise BodyCut
            piece = self._pieces.feed(data)
            if self._pieces.done:
                self.done = True
                self._link.rest = self._pieces.rest + self._link.rest
            if piece:
                return piece
        return b""


class UntilClose:
    """Everything up to the end of the connection (answers only, RFC 9112 §6.3)."""

    __slots__ = ("_link", "done")

    def __init__(self, link: Link) -> None:
        self._link = link
        self.done = False

    async def read(self) -> bytes:
        """The next piece, at most LARGE bytes; empty at the end."""
        data = await self._link.receive(LARGE)
        if not data and self._link.wire.cut:
            raise BodyCut
        self.done = not data
        return data


Body = FixedBody | ChunkedBody | UntilClose
