"""Times at which something is to be done, earliest first. An alarm that nobody wants any more is told from what it finds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final, Generic, TypeVar

T = TypeVar("T")
LONGEST: Final = 1.0
"""A wall clock that may be set is looked at this often, in seconds."""


class Alarms(Generic[T]):
    """Each is a time and what it is about."""

    __slots__ = ("_count", "_heap")

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, T]] = []
        self._count = itertools.count()

    def set(self, at: float, about: T) -> bool:
        """Note a time; whether it is now the earliest."""
        item = (at, next(self._count), about)
        heappush(self._heap, item)
        return self._heap[0] is item

    def passed(self, now: float) -> Iterator[T]:
        """Those whose time has come, each once."""
        while self._heap and self._heap[0][0] <= now:
            yield heappop(self._heap)[2]

    def pause(self, now: float) -> float:
        """How long nothing needs to be done, in seconds."""
        return max(0.0, min(self._heap[0][0] - now, LONGEST)) if self._heap else LONGEST
