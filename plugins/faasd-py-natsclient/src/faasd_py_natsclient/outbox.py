"""What waits to be sent. One task takes all of it at once; many put.

Bound parts belong to the connection they were put for (a SUB, a PING, a request whose caller is told of the loss);
the others are messages that may as well go out on the next one.
"""

from __future__ import annotations

import trio


class Outbox:
    """Byte strings in order; `size` of them in bytes, `limit` of which there may be before `full`."""

    __slots__ = ("_asleep", "_bound", "_parts", "_rooms", "_taker", "limit", "size")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        self._parts: list[bytes] = []
        self._bound: set[int] = set()
        self._taker = trio.lowlevel.ParkingLot()
        self._rooms = trio.lowlevel.ParkingLot()
        self._asleep = False

    @property
    def full(self) -> bool:
        """No more should be put."""
        return self.size >= self.limit

    def put(self, part: bytes) -> None:
        """A message: it outlives the connection."""
        self._parts.append(part)
        self.size += len(part)
        if self._asleep:
            self._asleep = False
            self._taker.unpark()

    def put_bound(self, part: bytes) -> None:
        """Something that only this connection is to see."""
        self._bound.add(len(self._parts))
        self.put(part)

    def begin(self, part: bytes) -> None:
        """Something bound, before all messages that were kept for this connection. Nothing bound is there yet."""
        self._parts.insert(0, part)
        self._bound.add(0)
        self.size += len(part)

    async def take(self) -> bytes:
        """Wait until there is something, then everything there is; whoever waits for room has it."""
        while not self._parts:
            self._asleep = True
            try:
                await self._taker.park()
            finally:
                self._asleep = False
        return self._empty()

    def _empty(self) -> bytes:
        parts, self._parts = self._parts, []
        self._bound.clear()
        self.size = 0
        self._rooms.unpark_all()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def drop_bound(self) -> None:
        """The connection is gone: only messages stay."""
        self._parts = [part for at, part in enumerate(self._parts) if at not in self._bound]
        self._bound.clear()
        self.size = sum(map(len, self._parts))
        self._rooms.unpark_all()

    async def wait_room(self) -> None:
        """Until it is not full any more, or something has changed that is worth a look."""
        await self._rooms.park()
