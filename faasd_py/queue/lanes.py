"""All lanes: who serves which, and who is woken when a call comes in. Shared by the backends in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import trio

from faasd_py.queue.entry import Entry
from faasd_py.queue.lane import Lane

AnyLane = TypeVar("AnyLane", bound=Lane)


class Lanes(Generic[AnyLane]):
    """Lanes by name, made when first asked for, forgotten when `forget_idle` finds nothing to remember."""

    def __init__(self, make: Callable[[str], AnyLane]) -> None:
        self._make = make
        self._unserved: dict[str, None] = {}
        self._seekers = trio.lowlevel.ParkingLot()
        self.named: dict[str, AnyLane] = {}

    def get(self, name: str) -> AnyLane:
        """The lane of this name."""
        lane = self.named.get(name)
        if lane is None:
            lane = self.named[name] = self._make(name)
        return lane

    async def next_lane(self) -> str:
        """Wait for a lane with READY calls that nobody serves; the caller serves it now."""
        while True:
            while self._unserved:
                name = next(iter(self._unserved))
                del self._unserved[name]
                lane = self.named.get(name)
                if lane is not None and lane.ready and not lane.served:
                    lane.served = True
                    return name
            await self._seekers.park()

    def leave(self, name: str) -> None:
        """Nobody serves the lane now."""
        lane = self.named.get(name)
        if lane is not None and lane.served:
            lane.served = False
            self.announce(lane)
            self.wake(lane)

    def announce(self, lane: AnyLane) -> None:
        """The lane may have READY calls that nobody will fetch."""
        if lane.ready and not lane.served and lane.name not in self._unserved:
            self._unserved[lane.name] = None
            self._seekers.unpark()

    def arrived(self, lane: AnyLane, entry: Entry) -> None:
        """An entry is at hand: put it in its place and wake one who waits for it."""
        lane.push(entry)
        if lane.lot:
            lane.lot.unpark()
        elif not lane.served:
            self.announce(lane)

    def wake(self, lane: AnyLane) -> None:
        """Wake as many as there are calls at hand."""
        if lane.lot and lane.count:
            lane.lot.unpark(count=lane.count)

    def take(self, lane: AnyLane) -> Entry | None:
        """Hand out the first entry at hand; whoever still waits for the others is woken."""
        entry = lane.pop()
        if entry is not None:
            lane.ready -= 1
            lane.leased += 1
            if lane.count and lane.lot:
                lane.lot.unpark()
        return entry

    def forget_idle(self) -> list[AnyLane]:
        """Drop the lanes that hold nothing and that nobody serves; which they were."""
        idle = [lane for lane in self.named.values() if lane.idle()]
        for lane in idle:
            del self.named[lane.name]
        return idle
