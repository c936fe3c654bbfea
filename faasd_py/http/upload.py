"""The body of a request on its way to a peer, while the answer is already being received."""

from __future__ import annotations

from collections.abc import Callable

import trio

from faasd_py.http.chunked import LAST_CHUNK, chunk
from faasd_py.http.errors import WireError
from faasd_py.http.link import Link
from faasd_py.http.message import Source


class Upload:
    """Sends what is unsent of the request, then what the source gives. `over`: no more will be sent.

    `done`: all of it was. A peer that stops reading ends it quietly: its answer, if any, tells why. What goes wrong
    at the source is kept in `failure`.
    """

    __slots__ = ("_left", "_link", "_on_over", "_source", "_unsent", "done", "failure", "over")

    def __init__(
        self,
        link: Link,
        unsent: bytes,
        source: Source | None,
        length: int | None,
        on_over: Callable[[], None],
    ) -> None:
        self._link = link
        self._unsent = unsent
        self._source = source
        self._left = length
        self._on_over = on_over
        self.over = False
        self.done = False
        self.failure: Exception | None = None

    async def run(self, exchange: trio.CancelScope) -> None:
        """Send everything; a failing source ends the exchange."""
        try:
            self.done = await self._send_all()
            self.over = True
            self._on_over()
        except Exception as error:  # noqa: BLE001 - the source's own; raised again by the peer
            self.failure = error
            exchange.cancel()

    async def _send_all(self) -> bool:
        if self._unsent and not await self._send(self._unsent):
            return False
        if self._source is None:
            return True
        while self._left != 0:
            piece = await self._source.read()
            if not piece:
                break
            if not await self._send(self._framed(piece)):
                return False
        if self._left:
            raise WireError("the body ended before its length")
        return self._left is not None or await self._send(LAST_CHUNK)

    def _framed(self, piece: bytes) -> bytes:
        if self._left is None:
            return chunk(piece)
        self._left -= len(piece)
        if self._left < 0:
            raise WireError("the body is longer than its length")
        return piece

    async def _send(self, data: bytes) -> bool:
        try:
            await self._link.send(data)
        except OSError:
            return False
        return True
