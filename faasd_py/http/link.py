"""One connection's wire with the bytes that were read too far, and the times by which it must make progress.

Both ends build on it: the server's Connection and the client's Peer.
"""

from __future__ import annotations

from math import inf
from typing import Final

import trio
from trio.lowlevel import checkpoint

from faasd_py.http.sweeper import Sweeper
from faasd_py.http.wire import LARGE, Wire

FAIR: Final = 16
"""So many operations in a row may succeed without waiting before the others get their turn."""


class OutOfTime(Exception):
    """No progress within the timeout."""


class Link:
    """Receive and send with progress deadlines, kept by the sweeper when it runs, else by a scope per wait."""

    __slots__ = (
        "_streak", "late", "receive_by", "receive_timeout", "rest", "send_by", "send_timeout", "sweeper", "wire",
    )  # fmt: skip

    def __init__(
        self, wire: Wire, sweeper: Sweeper, receive_timeout: float | None, send_timeout: float | None
    ) -> None:
        self.wire = wire
        self.sweeper = sweeper
        self.rest = b""
        """Received, and not yet used."""
        self.receive_timeout = inf if receive_timeout is None else receive_timeout
        self.send_timeout = inf if send_timeout is None else send_timeout
        self.receive_by = inf
        self.send_by = inf
        self.late = False
        self._streak = 0

    def due(self) -> float:
        """See Watched."""
        return min(self.receive_by, self.send_by)

    def cut(self, now: float) -> None:  # noqa: ARG002 - Watched's shape
        """Too late: whoever waits on the wire wakes, and finds `late`."""
        self.late = True
        self.receive_by = self.send_by = inf
        self.wire.shutdown()

    async def receive(self, limit: int) -> bytes:
        """The next bytes, at most `limit`; empty at the end.

        Raises:
            OSError: the wire broke.
            OutOfTime: nothing came within receive_timeout.
        """
        rest = self.rest
        if rest:
            self.rest = rest[limit:]
            return rest[:limit]
        await self.be_fair()  # before anything is taken: what is taken must not be lost to a cancellation
        data = self.wire.receive_nowait(limit)
        if data is None:
            self._streak = 0
            return await self.await_bytes(limit, self.receive_timeout)
        return data

    async def await_bytes(self, limit: int, patience: float) -> bytes:
        """Wait for bytes, `patience` seconds; none are expected to be there yet."""
        if patience == inf:
            return await self.wire.receive(limit)
        if not self.sweeper.running:
            return await self._await_bytes_in_scope(limit, patience)
        self.receive_within(patience)
        try:
            data = await self.wire.receive(limit)
        finally:
            self.receive_by = inf
        if self.late:
            raise OutOfTime
        return data

    def receive_within(self, patience: float) -> None:
        """Something must arrive in so many seconds, or the sweeper cuts the link off."""
        self.receive_by = when = self.sweeper.now() + patience
        if when < self.sweeper.soonest:
            self.sweeper.arm(when)

    async def _await_bytes_in_scope(self, limit: int, patience: float) -> bytes:
        with trio.move_on_after(patience):
            return await self.wire.receive(limit)
        raise OutOfTime

    async def send(self, data: bytes) -> None:
        """Send all of it.

        Raises:
            OSError: the wire broke.
            OutOfTime: the other side took nothing within send_timeout.
        """
        sent = self.wire.send_nowait(data)
        if sent < len(data):
            await self.send_rest(data, sent)
        elif sent > LARGE // 4:
            await self.be_fair()

    async def send_rest(self, whole: bytes, start: int) -> None:
        """Send from `start` on, waiting as often as it takes."""
        self._streak = 0
        data = memoryview(whole)[start:]
        while data:
            data = data[await self._send_some(data) :]

    async def _send_some(self, data: memoryview) -> int:
        if self.send_timeout == inf:
            return await self.wire.send(data)
        if not self.sweeper.running:
            with trio.move_on_after(self.send_timeout):
                return await self.wire.send(data)
            raise OutOfTime
        self.send_by = self.sweeper.now() + self.send_timeout
        self.sweeper.arm(self.send_by)
        try:
            sent = await self.wire.send(data)
        finally:
            self.send_by = inf
        if self.late:
            raise OutOfTime
        return sent

    async def be_fair(self) -> None:
        """Something succeeded without waiting: now and then let the others have their turn."""
        self._streak += 1
        if self._streak >= FAIR:
            self._streak = 0
            await checkpoint()

    def close(self) -> None:
        """Nobody will use it again."""
        self.sweeper.watched.discard(self)
        self.wire.close()


class LinkDuplex:
    """A link after an upgrade: raw bytes both ways. No progress is asked of it: a WebSocket may be silent."""

    __slots__ = ("_link",)

    def __init__(self, link: Link) -> None:
        self._link = link
        link.receive_timeout = inf

    async def receive_some(self) -> bytes:
        """The next bytes; empty at the end."""
        return await self._link.receive(LARGE)

    async def send_all(self, data: bytes) -> None:
        """Send all of it."""
        await self._link.send(data)

    async def send_eof(self) -> None:
        """No more will come from us; the other direction goes on."""
        await self._link.wire.send_eof()
