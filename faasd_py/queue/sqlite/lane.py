"""A lane with its window on the front of its order."""

from __future__ import annotations

from heapq import heapify

from faasd_py.queue import rank
from faasd_py.queue.entry import Entry, Phase
from faasd_py.queue.lane import Lane


class SqliteLane(Lane):
    """A lane with its window. `fusing` counts the calls being written whose attempt is on record with them."""

    __slots__ = ("fusing", "gone", "id", "mark", "oldest_beyond")

    def __init__(self, name: str, number: int) -> None:
        super().__init__(name)
        self.id = number
        self.mark: tuple[int, int] = (rank.END, 0)
        self.gone: set[int] | None = None
        """While a refill is under way: what it may have read although it left meanwhile."""
        self.fusing = 0
        self.oldest_beyond: int | None = None
        """The oldest key beyond the mark, when last looked."""

    def covers(self, entry: Entry) -> bool:
        """The entry's place is not beyond the mark."""
        return (entry.rank, entry.key) <= self.mark

    def left_beyond(self, key: int) -> None:
        """A call was left on record beyond the mark."""
        if self.oldest_beyond is None or key < self.oldest_beyond:
            self.oldest_beyond = key

    @property
    def complete(self) -> bool:
        """All READY calls are in memory."""
        return self.mark[0] == rank.END

    def cut(self, count: int, size: int) -> list[Entry]:
        """Shorten the window to `count` entries and `size` bytes; those cut off are returned."""
        live = sorted(item for item in self.heap if item[2].phase is Phase.WAITING)
        end = total = 0
        for item in live[:count]:
            total += item[2].size
            if total > size and end:
                break
            end += 1
        self.mark = live[end - 1][:2]
        off = [item[2] for item in live[end:] if not item[2].fused]
        for entry in off:
            self.withdraw(entry)
        self.heap = [item for item in live if item[2].phase is Phase.WAITING]
        heapify(self.heap)
        return off
