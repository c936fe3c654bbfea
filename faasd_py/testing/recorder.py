"""A Reply that keeps the answer and lets a test wait for parts of it; sources that give what a test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from faasd_py.runtime.contract import Duplex


class Recorder:
    """Status, headers, body; `ended` once the answer is complete.

    With `failing`, each write raises it, as when the client has gone away.
    """

    def __init__(self, failing: Exception | None = None) -> None:
        self.status = 0
        self.headers = b""
        self.length: int | None = None
        self.body = b""
        self.ended = False
        self._failing = failing
        self._changed = trio.Event()

    def __repr__(self) -> str:
        return f"<Recorder {self.status} {len(self.body)} bytes{' ended' if self.ended else ''}>"

    @property
    def began(self) -> bool:
        """There is a status."""
        return self.status != 0

    def header(self, name: bytes) -> bytes | None:
        """The first value of a field of the answer."""
        for line in self.headers.split(b"\r\n"):
            found, _, value = line.partition(b":")
            if found.lower() == name.lower():
                return value.strip()
        return None

    async def until(self, condition: Callable[[], bool]) -> None:
        """Return once the condition is true; it is looked at whenever something came."""
        while not condition():
            await self._changed.wait()

    def _change(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """See Reply."""
        await self.start(status, headers, len(body))
        await self.write(body)
        await self.end()

    async def start(self, status: int, headers: bytes, length: int | None) -> None:
        """See Reply."""
        if self.began:
            raise AssertionError("the answer began twice")
        self.status, self.headers, self.length = status, headers, length
        self._change()
        await trio.lowlevel.checkpoint()

    async def write(self, data: bytes) -> None:
        """See Reply."""
        if self._failing is not None:
            raise self._failing
        if not self.began or self.ended:
            raise AssertionError("a piece came before the answer began, or after it ended")
        self.body += data
        self._change()
        await trio.lowlevel.checkpoint()

    async def end(self) -> None:
        """See Reply."""
        if self.length is not None and self.length != len(self.body):
            raise AssertionError(f"{self.length} bytes were promised, {len(self.body)} came")
        self.ended = True
        self._change()
        await trio.lowlevel.checkpoint()

    async def tunnel(self, headers: bytes, wire: Duplex) -> None:
        """Never expected here."""
        raise AssertionError(f"an unexpected tunnel over {wire!r}: {headers!r}")


class Pieces:
    """A Source of given pieces. A piece may be an event-like wait, or an exception to raise."""

    def __init__(self, *pieces: bytes | Callable[[], Awaitable[object]] | Exception) -> None:
        self._pieces = list(pieces)
        self.left = len(pieces)

    async def read(self) -> bytes:
        """See Source."""
        await trio.lowlevel.checkpoint()
        while self._pieces:
            piece = self._pieces.pop(0)
            self.left = len(self._pieces)
            if isinstance(piece, bytes):
                return piece
            if isinstance(piece, Exception):
                raise piece
            await piece()
        return b""
