"""The hub's figures as they are seen from here: as told last, and as changed by what is on its way."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from faasd_py.api import LaneStats, Move, QueueStats
from faasd_py_nng.wire import Figures


class Change(msgspec.Struct, eq=False):
    """A settlement that the hub has not confirmed."""

    lane: str
    move: Move
    size: int


class HubStats:
    """`taken` tells how many leases of a lane are in workers' hands: what else the hub thinks is ours waits, at hand."""

    def __init__(self, taken: Callable[[str], int]) -> None:
        self._taken = taken
        self._lanes: dict[str, tuple[int, tuple[int, int, int, int, float | None, int] | None]] = {}
        self._number = 0
        self._bytes = 0
        self._quarantined = 0
        self._changes: set[Change] = set()
        self._fading: set[Change] = set()
        self._counted = True
        self.trouble: str | None = None

    def forget(self) -> None:
        """The hub counts its figures anew."""
        self._number = 0
        self._lanes = {name: (0, lane) for name, (_, lane) in self._lanes.items()}

    def update(self, figures: Figures | None) -> None:
        """Take them over; of each lane the newest count, whatever order they come in. None: the hub did not count."""
        self._counted = figures is not None
        if figures is None:
            return
        self._changes -= self._fading
        self._fading.clear()
        for name, lane in figures.lanes.items():
            if figures.number > self._lanes.get(name, (0, None))[0]:
                self._lanes[name] = figures.number, lane
        if figures.number > self._number:
            self._number = figures.number
            self._bytes, self._quarantined = figures.bytes, figures.quarantined
            self.trouble = figures.trouble

    def expect(self, change: Change) -> None:
        """It shows at once."""
        self._changes.add(change)

    def confirmed(self, change: Change) -> None:
        """The hub's own figures have it now, or as soon as it counts again."""
        if self._counted:
            self._changes.discard(change)
        else:
            self._fading.add(change)

    def stats(self) -> QueueStats:
        """As they must be now."""
        lanes = {name: self._lane(name, lane) for name, (_, lane) in self._lanes.items() if lane is not None}
        size = self._bytes
        for change in self._changes:
            if change.lane in lanes:
                _apply(lanes[change.lane], change.move)
            if change.move not in {Move.RELEASE, Move.RETRY}:
                size -= change.size
        return QueueStats(lanes=lanes, bytes=max(0, size), quarantined=self._quarantined)

    def _lane(self, name: str, figures: tuple[int, int, int, int, float | None, int]) -> LaneStats:
        ready, leased, delayed, dead, oldest, mine = figures
        waiting = max(0, mine - self._taken(name))
        return LaneStats(
            ready=ready + waiting,
            leased=max(0, leased - waiting),
            delayed=delayed,
            dead=dead,
            oldest_at=oldest,
        )


def _apply(lane: LaneStats, move: Move) -> None:
    lane.leased = max(0, lane.leased - 1)
    lane.ready += move is Move.RELEASE
    lane.delayed += move is Move.RETRY
    lane.dead += move is Move.BURY
