"""One lane: its figures, the calls at hand in their order, and how many more are wanted.

Calls are fetched for those who wait. The window is how many may be at hand or asked for: it doubles when workers find
nothing while the broker has more, up to twice what works here, and what nobody takes within a second goes back to the broker, for other daemons.
"""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

import trio

from faasd_py.api import LaneStats
from faasd_py_jetstream.entry import Entry, Phase
from faasd_py_jetstream.source import Source

SOME: Final = 16
"""A window that is not too much for anybody; beyond, twice as many as work or wait here."""
STALE: Final = 1.0
"""Seconds at hand after which a call is given back."""
HOLD: Final = 0.25
"""Seconds that a call waits for one that should come before it."""
REST: Final = 5.0
"""Seconds until a lane that nobody here wanted is looked at again."""


class Lane:
    """`ready`, `leased`, `delayed`, `dead` count all daemons' calls as far as is known."""

    __slots__ = (
        "coming", "count", "dead", "delayed", "heap", "hungry", "leased", "lot", "mine", "most", "name",
        "oldest_at", "others", "ready", "rest_until", "served", "sources", "used_at", "window",
    )  # fmt: skip

    def __init__(self, name: str, most: int) -> None:
        self.name = name
        self.most = most
        self.sources: dict[str, Source] = {}
        self.heap: list[tuple[tuple[str, int, str], Entry]] = []
        self.count = 0
        self.coming: list[Entry] = []
        """Those that are looked into: what stands behind them waits a moment."""
        self.ready = 0
        self.leased = 0
        self.delayed = 0
        self.dead = 0
        self.mine = 0
        """Held or started here."""
        self.others = 0
        """Held by other daemons, when last looked."""
        self.oldest_at: float | None = None
        self.served = False
        self.lot = trio.lowlevel.ParkingLot()
        self.hungry = False
        self.window = 2
        self.rest_until = 0.0
        self.used_at = 0.0

    def __repr__(self) -> str:
        return f"<Lane {self.name} ready={self.ready} at hand={self.count} leased={self.leased} window={self.window}>"

    def push(self, entry: Entry) -> None:
        """Put an entry in its place among those at hand."""
        entry.phase = Phase.AT_HAND
        heappush(self.heap, (entry.rank, entry))
        entry.source.at_hand += 1
        self.count += 1

    def pop(self, now: float) -> Entry | None:
        """Take the first entry at hand, if it is its turn."""
        if not self.ripe(now):
            return None
        entry = heappop(self.heap)[1]
        self._left(entry)
        return entry

    def ripe(self, now: float) -> bool:
        """There is an entry at hand, and none that should come before it is about to."""
        while self.heap and self.heap[0][1].phase is not Phase.AT_HAND:
            heappop(self.heap)
        if not self.heap:
            return False
        rank, entry = self.heap[0]
        if self.coming and any(one.rank < rank and now - one.arrived_at < HOLD for one in self.coming):
            return False
        return len(self.sources) == 1 or not any(
            source.priority < entry.source.priority and source.promises(now, HOLD)
            for source in self.sources.values()
        )

    def withdraw(self, entry: Entry) -> None:
        """Take out one entry at hand."""
        entry.phase = Phase.OVER
        self._left(entry)
        if len(self.heap) > 2 * self.count + 64:
            self.heap = [item for item in self.heap if item[1].phase is Phase.AT_HAND]
            heapify(self.heap)

    def _left(self, entry: Entry) -> None:
        entry.source.at_hand -= 1
        self.count -= 1

    def at_hand(self) -> list[Entry]:
        """Those at hand, in no order."""
        return [entry for _, entry in self.heap if entry.phase is Phase.AT_HAND]

    # how many are wanted

    def want(self, now: float) -> int:
        """How many may be at hand or asked for."""
        if self.hungry:
            return self.window
        return 1 if not self.served and now >= self.rest_until else 0

    def fill(self, now: float) -> None:
        """Ask the broker for what is wanted, in few requests."""
        want = self.want(now)
        for source in self.sources.values():
            lack = want - source.at_hand - source.requested
            if lack > 0 and (lack >= want // 2 or source.at_hand + source.requested == 0):
                source.pull(lack)

    def starve(self, now: float) -> None:
        """Somebody wants a call and there is none at hand."""
        self.hungry = True
        self.used_at = now
        if any(source.backlog for source in self.sources.values()):
            useful = max(SOME, 2 * (self.mine + len(self.lot)))
            self.window = max(2, min(2 * self.window, self.most, useful))
        self.fill(now)

    def taken(self, now: float) -> None:
        """A call was leased."""
        self.hungry = True
        self.used_at = now
        self.ready -= self.ready > 0
        self.leased += 1
        self.mine += 1
        self.fill(now)

    def stale(self, now: float) -> list[Entry]:
        """Those that nobody takes: they are withdrawn, to be given back, and no more are asked for until one is wanted."""
        old = [entry for entry in self.at_hand() if now - max(entry.arrived_at, self.used_at) > STALE]
        for entry in old:
            self.withdraw(entry)
        if old:
            self.hungry = bool(self.lot)
            self.window = max(2, self.window // 2)
            self.rest_until = now + REST
        return old

    # what is known of it

    def idle(self) -> bool:
        """There is nothing to be remembered about it."""
        figures = self.ready or self.leased or self.delayed or self.dead or self.count
        return not (figures or self.served or self.lot)

    def stats(self) -> LaneStats:
        """The figures now."""
        oldest = min(
            (entry.call.accepted_at or (entry.key >> 15) / 1000 for entry in self.at_hand()), default=None
        )
        known = [time for time in (oldest, self.oldest_at) if time is not None and self.ready]
        return LaneStats(
            ready=self.ready, leased=self.leased, delayed=self.delayed, dead=self.dead, oldest_at=min(known, default=None)
        )  # fmt: skip
