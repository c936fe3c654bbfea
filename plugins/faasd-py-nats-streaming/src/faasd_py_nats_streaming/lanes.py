"""Lanes: the calls of one function that are at hand, who serves them, and who waits for them."""

from __future__ import annotations

from heapq import heappop, heappush

import trio

from faasd_py.api import LaneStats
from faasd_py_nats_streaming.entry import Entry, Phase


class Lane:
    """`heap` is what is at hand.

    `coming` and `late` are calls in the channels that have not reached us yet: to be run when they come, or when they are
    due; `coming_bytes` is what they weigh, and `fresh` how many were sent lately. `held` counts what is in our hands by
    whether it came to be run, or to be run later; `held_bytes` is what that weighs.
    """

    __slots__ = (
        "coming",
        "coming_bytes",
        "delayed",
        "fresh",
        "heap",
        "held",
        "held_bytes",
        "late",
        "leased",
        "lot",
        "name",
        "served",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.heap: list[tuple[int, int, Entry]] = []
        self.coming = 0
        self.late = 0
        self.fresh = 0
        self.coming_bytes = 0
        self.held = [0, 0]
        self.held_bytes = 0
        self.leased = 0
        self.delayed = 0
        self.served = False
        self.lot = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"<Lane {self.name} at hand={len(self.heap)} coming={self.coming} leased={self.leased}>"

    @property
    def outside(self) -> int:
        """Calls that have not reached us."""
        return self.coming + self.late

    def idle(self) -> bool:
        """There is nothing to be remembered about it."""
        return not (self.heap or self.outside or self.leased or self.delayed or self.served or self.lot)

    def stats(self) -> LaneStats:
        """Its figures. Beyond what is at hand nobody knows the oldest."""
        oldest = self.heap[0][2] if self.heap else None
        return LaneStats(
            ready=len(self.heap) + self.coming,
            leased=self.leased,
            delayed=self.delayed + self.late,
            oldest_at=None if oldest is None else oldest.call.accepted_at or oldest.timestamp / 1e9,
        )


class Lanes:
    """By name, made when first asked for."""

    def __init__(self) -> None:
        self.named: dict[str, Lane] = {}
        self._unserved: dict[str, None] = {}
        self._seekers = trio.lowlevel.ParkingLot()

    def get(self, name: str) -> Lane:
        """The lane of this name."""
        lane = self.named.get(name)
        if lane is None:
            lane = self.named[name] = Lane(name)
        return lane

    async def next_lane(self) -> str:
        """See `faasd_py.api.Queue`."""
        while True:
            while self._unserved:
                name = next(iter(self._unserved))
                del self._unserved[name]
                lane = self.named.get(name)
                if lane is not None and lane.heap and not lane.served:
                    lane.served = True
                    return name
            await self._seekers.park()

    def leave(self, name: str) -> None:
        """See `faasd_py.api.Queue`."""
        lane = self.named.get(name)
        if lane is not None and lane.served:
            lane.served = False
            self._announce(lane)
            if lane.lot and lane.heap:
                lane.lot.unpark(count=len(lane.heap))

    def _announce(self, lane: Lane) -> None:
        if lane.heap and not lane.served and lane.name not in self._unserved:
            self._unserved[lane.name] = None
            self._seekers.unpark()

    def arrived(self, entry: Entry) -> None:
        """An entry is READY: put it in its place and wake one who waits for it."""
        lane = entry.lane
        entry.phase = Phase.WAITING
        heappush(lane.heap, (entry.rank, entry.sequence, entry))
        if lane.lot:
            lane.lot.unpark()
        elif not lane.served:
            self._announce(lane)

    def take(self, lane: Lane) -> Entry | None:
        """Hand out the first entry at hand; whoever still waits for the others is woken."""
        while lane.heap:
            entry = heappop(lane.heap)[2]
            if entry.phase is Phase.WAITING:
                entry.phase = Phase.HELD
                lane.leased += 1
                if lane.heap and lane.lot:
                    lane.lot.unpark()
                return entry
        return None

    async def wait_ready(self, name: str) -> None:
        """See `faasd_py.api.Queue`."""
        while not self.get(name).heap:
            await self.get(name).lot.park()

    def forget_idle(self) -> None:
        """Drop the lanes that hold nothing and that nobody serves."""
        for name in [name for name, lane in self.named.items() if lane.idle()]:
            del self.named[name]
