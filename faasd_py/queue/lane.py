"""One lane: its figures, the calls at hand in their order, and those who wait for them."""

from __future__ import annotations

from heapq import heapify, heappop, heappush

import trio

from faasd_py.queue.ages import Ages
from faasd_py.queue.contract import LaneStats
from faasd_py.queue.entry import Entry, Phase


class Lane:
    """The calls at hand are a heap; one that was withdrawn stays in it until it comes up, and is skipped.

    `ready` counts all READY calls, `count` and `bytes` those at hand; `pending` is what is being written and will land
    here.
    """

    __slots__ = (
        "_ages",
        "bytes",
        "count",
        "dead",
        "delayed",
        "heap",
        "leased",
        "lot",
        "name",
        "pending",
        "ready",
        "served",
    )

    def __init__(self, name: str) -> None:
        self.name = name
        self.ready = 0
        self.leased = 0
        self.delayed = 0
        self.dead = 0
        self.heap: list[tuple[int, int, Entry]] = []
        self._ages = Ages()
        self.count = 0
        self.bytes = 0
        self.pending = 0
        self.served = False
        self.lot = trio.lowlevel.ParkingLot()

    def __repr__(self) -> str:
        return f"<Lane {self.name} ready={self.ready} at hand={self.count} leased={self.leased}>"

    def push(self, entry: Entry) -> None:
        """Put an entry in its place among those at hand."""
        entry.phase = Phase.WAITING
        heappush(self.heap, (entry.rank, entry.key, entry))
        self._ages.add(entry)
        self.count += 1
        self.bytes += entry.size

    def pop(self) -> Entry | None:
        """Take the first entry at hand; it is HELD."""
        while self.heap:
            entry = heappop(self.heap)[2]
            if entry.phase is Phase.WAITING:
                entry.phase = Phase.HELD
                self._left(entry)
                return entry
        return None

    def withdraw(self, entry: Entry) -> None:
        """Take out one entry at hand, wherever it stands."""
        entry.phase = Phase.ELSEWHERE
        self._left(entry)
        if len(self.heap) > 2 * self.count + 64:
            self.heap = [item for item in self.heap if item[2].phase is Phase.WAITING]
            heapify(self.heap)

    def _left(self, entry: Entry) -> None:
        self.count -= 1
        self.bytes -= entry.size
        self._ages.left(self.count)

    def oldest_key(self) -> int | None:
        """The smallest key at hand."""
        return self._ages.oldest()

    def idle(self) -> bool:
        """There is nothing to be remembered about it."""
        figures = self.ready or self.leased or self.delayed or self.dead or self.pending
        return not (figures or self.served or self.lot)

    def stats(self, oldest_at: float | None) -> LaneStats:
        """The figures, with the oldest waiting call's time, which the backend knows."""
        return LaneStats(
            ready=self.ready, leased=self.leased, delayed=self.delayed, dead=self.dead, oldest_at=oldest_at
        )
