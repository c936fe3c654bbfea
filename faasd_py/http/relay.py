"""Bytes both ways between two ends, until both directions are done; each may end on its own."""

from __future__ import annotations

from typing import Final, Protocol

import trio

from faasd_py.http.errors import WireError
from faasd_py.http.link import OutOfTime

BROKEN: Final = (OSError, WireError, OutOfTime, trio.BrokenResourceError, trio.ClosedResourceError)


class End(Protocol):
    """One end of a tunnel."""

    async def receive_some(self) -> bytes:
        """The next bytes; empty at the end."""

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""

    async def send_eof(self) -> None:
        """No more will come from us."""


async def relay(one: End, other: End) -> None:
    """Return when both directions have ended, or one has broken."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_pump, one, other, nursery.cancel_scope)
        await _pump(other, one, nursery.cancel_scope)


async def _pump(source: End, sink: End, both: trio.CancelScope) -> None:
    try:
        while data := await source.receive_some():
            await sink.send_all(data)
        await sink.send_eof()
    except BROKEN:
        both.cancel()
