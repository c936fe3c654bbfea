"""Reading on: the next READY calls of a lane, from its mark.

The mark moves only when a refill lands, and only one is under way in a lane. What lands before it was done before it,
so a call on record beyond the mark is either read by the refill or put after it. A call that the refill read may be in
memory already (it came back, or a worker holds it), or may have left meanwhile (`lane.gone`): both are passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from faasd_py.core.lifecycle import State
from faasd_py.queue import rank
from faasd_py.queue.sqlite import rows
from faasd_py.queue.sqlite.jobs import Ask

if TYPE_CHECKING:
    from faasd_py.queue.sqlite.lane import SqliteLane
    from faasd_py.queue.sqlite.store import Store
    from faasd_py.queue.sqlite.windows import Windows

_READ: Final = (
    f"SELECT {rows.WAITING_COLUMNS} FROM calls"
    f" WHERE lane = ? AND state = {State.READY:d} AND (rank, key) > (?, ?) ORDER BY rank, key LIMIT ?"
)
_NEXT: Final = (
    f"SELECT rank, key FROM calls WHERE lane = ? AND state = {State.READY:d} AND (rank, key) > (?, ?)"
    " ORDER BY rank, key LIMIT 1"
)


def oldest(execute: Callable[..., Any], lane: int, mark: tuple[int, int]) -> int | None:
    """The smallest key among a lane's READY calls beyond a mark: the first of each priority is looked at."""
    found: list[int] = []
    while (row := execute(_NEXT, (lane, *mark)).fetchone()) is not None:
        found.append(row[1])
        mark = rank.next_priority(row[0]), -1
    return min(found, default=None)


class Refill(Ask):
    """At most `count` calls, and no more once they have `room` bytes together."""

    __slots__ = ("_bad", "_count", "_found", "_lane", "_mark", "_oldest", "_room", "_windows")

    def __init__(self, windows: Windows, lane: SqliteLane, count: int, room: int) -> None:
        super().__init__()
        self._windows = windows
        self._lane = lane
        self._count = count
        self._room = room

    def run(self, store: Store) -> None:
        """Read; a row that is not what was written goes into quarantine."""
        self._found: list[rows.Waiting] = []
        mark, room, seen = self._lane.mark, self._room, 0
        damaged = []
        for row in store.execute(_READ, (self._lane.id, *mark, self._count)):
            seen += 1
            mark = row[2], row[0]
            try:
                self._found.append(rows.waiting(row, store.body_store))
            except rows.Damaged as error:
                damaged.append((row, str(error)))
                continue
            room -= row[5]
            if room <= 0:
                seen = self._count
                break
        self._mark = mark if seen == self._count else (rank.END, 0)
        self._oldest = None if self._mark[0] == rank.END else oldest(store.execute, self._lane.id, self._mark)
        self._bad = [(row[5], reason) for row, reason in damaged]
        for row, reason in damaged:
            store.quarantine(row, self._lane, reason)

    def land(self) -> None:
        """The calls are at hand, the mark stands behind them."""
        self._lane.oldest_beyond = self._oldest
        self._windows.refilled(self._lane, self._mark, self._found, self._bad)

    def fail(self) -> None:
        """Nothing was read: those who wait ask again."""
        self._lane.gone = None
