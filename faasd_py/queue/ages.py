"""The entries at hand of one lane by age, so that the oldest is known without looking at all of them.

A lane's own order is by priority and due time. Here most come in the order of their keys and stand in a line; those that
come back (a retry, a delay, a lease handed back) stand in a heap beside it. Who is not at hand any more is skipped when its
turn comes.
"""

from __future__ import annotations

from collections import deque
from heapq import heapify, heappop, heappush
from typing import Final

from faasd_py.queue.entry import Entry, Phase

SLACK: Final = 64
"""Entries that may be remembered in vain, besides as many as are at hand."""


class Ages:
    """`add` each that comes; `left` when one has left, with how many are at hand then."""

    __slots__ = ("_back", "_line")

    def __init__(self) -> None:
        self._line: deque[Entry] = deque()
        self._back: list[tuple[int, Entry]] = []

    def __len__(self) -> int:
        return len(self._line) + len(self._back)

    def add(self, entry: Entry) -> None:
        """It is at hand from now on."""
        line = self._line
        if line and entry.key < line[-1].key:
            heappush(self._back, (entry.key, entry))
        else:
            line.append(entry)

    def left(self, count: int) -> None:
        """One has left, `count` are at hand."""
        line = self._line
        while line and line[0].phase is not Phase.WAITING:
            line.popleft()
        if len(line) + len(self._back) > 2 * count + SLACK:
            self._forget()

    def _forget(self) -> None:
        """Only those that are at hand."""
        self._line = deque(entry for entry in self._line if entry.phase is Phase.WAITING)
        self._back = [item for item in self._back if item[1].phase is Phase.WAITING]
        heapify(self._back)

    def oldest(self) -> int | None:
        """The smallest key at hand."""
        line, back = self._line, self._back
        while line and line[0].phase is not Phase.WAITING:
            line.popleft()
        while back and back[0][1].phase is not Phase.WAITING:
            heappop(back)
        if line and back:
            return min(line[0].key, back[0][0])
        if line:
            return line[0].key
        return back[0][0] if back else None
