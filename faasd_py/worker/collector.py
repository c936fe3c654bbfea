"""The reply of an asynchronous call: kept in memory while it is small, in a spool file when its callback needs it whole."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from typing import Final

import trio

from faasd_py.core.call import Body, Spooled
from faasd_py.core.errors import FunctionUnavailable, QueueError
from faasd_py.queue.spool import Spool, SpoolWriter
from faasd_py.runtime.contract import Duplex

_NEWLINE: Final = 10
log: Final = logging.getLogger("faasd_py.worker")


class Collector:
    """Keeps an answer. `body` is what the record may keep: all of it up to `limit` bytes, else nothing.

    With a spool, a longer answer goes to a file up to `most` bytes, and `commit` gives it. An answer that does not fit
    there, or that the disk has no room for, is counted and dropped: the function did its work, and running it again
    would not make more room.
    """

    __slots__ = ("_limit", "_most", "_opening", "_pieces", "_spool", "_writer", "body", "ended", "headers", "size", "status")  # fmt: skip

    def __init__(self, limit: int, spool: Spool | None, most: int) -> None:
        self._limit = limit
        self._most = most
        self._spool = spool
        self._pieces: list[bytes] | None = None
        self._opening: AbstractAsyncContextManager[SpoolWriter] | None = None
        self._writer: SpoolWriter | None = None
        self.status = 0
        self.headers = b""
        self.body = b""
        self.size = 0
        self.ended = False

    @property
    def complete(self) -> bool:
        """The answer is whole in `body`."""
        return self.ended and self.size == len(self.body)

    @property
    def spooling(self) -> bool:
        """There is a file."""
        return self._writer is not None

    async def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """See Reply."""
        self.status, self.headers = status, headers
        if len(body) <= self._limit:
            self.body = body
            self.size = len(body)
            self.ended = True
        else:
            await self.write(body)
            await self.end()

    async def start(self, status: int, headers: bytes, length: int | None) -> None:  # noqa: ARG002 - Reply's shape
        """See Reply."""
        self.status, self.headers = status, headers

    async def write(self, data: bytes) -> None:
        """See Reply."""
        before, self.size = self.size, self.size + len(data)
        if self.size <= self._limit:
            if self._pieces is None:
                self._pieces = []
            self._pieces.append(data)
        elif before <= self._limit:
            await self._overflow(data)
        elif self._writer is not None:
            await self._append(data)

    async def end(self) -> None:
        """See Reply."""
        if self._pieces is not None:
            self.body = b"".join(self._pieces)
        self.ended = True

    async def tunnel(self, headers: bytes, wire: Duplex) -> None:  # noqa: ARG002 - Reply's shape
        """Nobody is there to talk to.

        Raises:
            FunctionUnavailable: always.
        """
        raise FunctionUnavailable("the function switched protocols on an asynchronous call")

    async def commit(self) -> Body | None:
        """The whole answer, for a callback; None when it was too large to keep. The file is the caller's from now on."""
        if self._writer is None:
            return self.body if self.complete else None
        try:
            spooled: Spooled = await self._writer.commit()
        except QueueError as error:
            log.warning("an answer of %d bytes is dropped: %s", self.size, error)
            return None
        else:
            return spooled
        finally:
            await self.close()

    async def close(self) -> None:
        """Close the file; what was not committed is removed. Not to be cancelled."""
        self._writer = None
        if self._opening is not None:
            opening, self._opening = self._opening, None
            with trio.CancelScope(shield=True):
                await opening.__aexit__(None, None, None)

    async def _overflow(self, data: bytes) -> None:
        kept = b"".join(self._pieces or ())
        self._pieces = None
        if self._spool is not None:
            self._opening = self._spool.writer()
            try:
                self._writer = await self._opening.__aenter__()
            except BaseException as error:
                self._opening = None
                if not isinstance(error, QueueError):
                    raise
                log.warning("an answer cannot be kept for its callback: %s", error)
            else:
                await self._append(kept + data)

    async def _append(self, data: bytes) -> None:
        assert self._writer is not None  # noqa: S101 - asked by every caller
        if self.size > self._most:
            log.warning("an answer of more than %d bytes is dropped", self._most)
            await self.close()
            return
        try:
            await self._writer.write(data)
        except QueueError as error:
            log.warning("an answer cannot be kept for its callback: %s", error)
            await self.close()


def end_to_end(headers: bytes) -> bytes:
    """The answer's lines without framing fields."""
    small = headers.lower()
    start = small.find(b"content-length:")
    while start > 0 and small[start - 1] != _NEWLINE:
        start = small.find(b"content-length:", start + 1)
    if start < 0:
        return headers
    return headers[:start] + headers[small.index(b"\n", start) + 1 :]
