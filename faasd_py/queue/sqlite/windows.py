"""What is at hand: a bounded window on the front of each lane's order.

A lane's `mark` is where its window ends: a READY call on record that is not beyond the mark is in memory, at hand or
held by a worker. What lies beyond is on record only, until a refill reads on from the mark. Jobs land in the order in
which they were done, and that is enough to keep this true: see `Refill`.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from typing import Final

from faasd_py.config import QueueSettings
from faasd_py.core.lifecycle import State
from faasd_py.queue.entry import Entry, Phase
from faasd_py.queue.keys import Keys
from faasd_py.queue.lanes import Lanes
from faasd_py.queue.sqlite import rows
from faasd_py.queue.sqlite.jobs import Job
from faasd_py.queue.sqlite.lane import SqliteLane
from faasd_py.queue.sqlite.refill import Refill
from faasd_py.queue.sqlite.schema import CRASHED

WINDOW: Final = 512
"""Calls at hand in a lane, after a refill; twice as many before it is cut."""
LOW: Final = 256
"""Fewer at hand, and more on record: read on."""
WINDOW_BYTES: Final = 32 << 20
"""Bytes at hand in all lanes together after refills, nearly; each has its part."""


class Windows:
    """The calls in memory, and the figures of all."""

    def __init__(self, settings: QueueSettings, keys: Keys, submit: Callable[[Job], None]) -> None:
        self._settings = settings
        self._keys = keys
        self._submit = submit
        self._lanes: Lanes[SqliteLane] = Lanes(self._make_lane)
        self._by_id: dict[int, SqliteLane] = {}
        self._near: dict[int, Entry] = {}
        """What is at hand or held, by key."""
        self._frozen: dict[int, Entry | None] = {}
        """Keys that must not come to hand now, with the entries that were about to."""
        self._depth = 0
        self._bytes = 0
        self._quarantined = 0

    def _make_lane(self, name: str) -> SqliteLane:
        number = self.number(name)
        lane = self._by_id[number] = SqliteLane(name, number)
        return lane

    def number(self, name: str) -> int:
        """The lane's number on record."""
        return rows.lane_number(name, self._keys.node)

    def _read_on(self, lane: SqliteLane) -> None:
        """Have the next READY calls read from the record, unless all are at hand or that is under way."""
        if lane.complete or lane.gone is not None:
            return
        lane.gone = set()
        room = max(0, self._lane_bytes() - lane.bytes)
        self._submit(Refill(self, lane, max(1, WINDOW - lane.count), room))

    def _lane_bytes(self) -> int:
        return WINDOW_BYTES // max(8, len(self._lanes.named))

    def place(self, entry: Entry, lane: SqliteLane) -> None:
        """A call that is READY: to hand, or left on record when its place is beyond the mark."""
        if lane.gone is not None:
            lane.gone.discard(entry.key)
        if entry.key in self._frozen:
            self._frozen[entry.key] = self._frozen[entry.key] or entry
        elif entry.fused or (entry.rank, entry.key) <= lane.mark:
            self._near[entry.key] = entry
            self._lanes.arrived(lane, entry)
            if lane.count > 2 * WINDOW or lane.bytes > 2 * self._lane_bytes():
                self._cut(lane)
        else:
            lane.left_beyond(entry.key)
            self._lanes.announce(lane)
            if lane.lot and not lane.count:
                self._read_on(lane)

    def _cut(self, lane: SqliteLane) -> None:
        if lane.gone is None and lane.count > 1:
            for entry in lane.cut(WINDOW, self._lane_bytes()):
                del self._near[entry.key]
                lane.left_beyond(entry.key)

    def refilled(
        self,
        lane: SqliteLane,
        mark: tuple[int, int],
        found: list[rows.Waiting],
        damaged: list[tuple[int, str]],
    ) -> None:
        """A refill landed."""
        gone, lane.gone = lane.gone or set(), None
        lane.mark = mark
        for size, _reason in damaged:
            lane.ready -= 1
            self._depth -= 1
            self._bytes -= size
            self._quarantined += 1
        for row in found:
            if row.key not in self._near and row.key not in gone:
                self.place(self._entry(row, lane), lane)
        if lane.lot and not lane.count:
            self._read_on(lane)

    def _entry(self, row: rows.Waiting, lane: SqliteLane) -> Entry:
        return Entry(
            row.key, self._keys.text(row.key), lane, row.rank, row.call, row.size, row.attempts,
            crashed=bool(row.flags & CRASHED), kept=row.kept, history=row.history, flags=row.flags,
        )  # fmt: skip

    def came_due(self, found: list[rows.Waiting], damaged: list[tuple[int, int]]) -> None:
        """Calls that were DELAYED are READY; the damaged among them, by lane and size, are gone."""
        for lane_id, size in damaged:
            self.left(lane_id, State.DELAYED, size)
            self._quarantined += 1
        for row in found:
            lane = self._by_id.get(row.lane) or self._lanes.get(row.call.lane)
            lane.delayed -= 1
            lane.ready += 1
            self.place(self._entry(row, lane), lane)

    def revived(self, found: list[rows.Waiting]) -> None:
        """Calls that were DEAD are READY."""
        for row in found:
            lane = self._by_id.get(row.lane) or self._lanes.get(row.call.lane)
            lane.dead -= 1
            lane.ready += 1
            self._depth += 1
            self._bytes += row.size
            self.place(self._entry(row, lane), lane)

    def freeze(self, keys: Iterable[int]) -> list[int]:
        """Keep calls from coming to hand until `thaw`; which they are: those that a worker holds are not among them."""
        frozen = []
        for key in keys:
            entry = self._near.get(key)
            if entry is not None and entry.phase is not Phase.WAITING:
                continue
            if entry is not None:
                entry.lane.withdraw(entry)
                del self._near[key]
            self._frozen[key] = entry
            frozen.append(key)
        return frozen

    def thaw(self, keys: Iterable[int], gone: Container[int] = ()) -> None:
        """Undo `freeze`; the calls among `gone` are no longer READY."""
        for key in keys:
            entry = self._frozen.pop(key, None)
            if entry is not None and key not in gone:
                self.place(entry, entry.lane)  # type: ignore[arg-type]

    def fused(self, keys: Iterable[int]) -> frozenset[int]:
        """Those of the frozen calls that are LEASED on record although they are READY."""
        return frozenset(key for key in keys if (entry := self._frozen.get(key)) is not None and entry.fused)

    def left(self, lane_id: int, state: State, size: int) -> None:
        """A call that no worker held is gone from a state."""
        lane = self._by_id.get(lane_id)
        if state in {State.READY, State.DELAYED}:
            self._depth -= 1
            self._bytes -= size
        if lane is not None:
            lane.ready -= state is State.READY
            lane.delayed -= state is State.DELAYED
            lane.dead -= state is State.DEAD

    def tidy(self) -> None:
        """Drop the lanes that hold nothing; read on where a refill failed and somebody waits."""
        for lane in self._lanes.named.values():
            if lane.lot and not lane.count:
                self._read_on(lane)
        for lane in self._lanes.forget_idle():
            del self._by_id[lane.id]
