"""Times at which something is to be done with a key, earliest first."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heappop, heappush
from typing import Final

LONGEST: Final = 1.0
"""A wall clock that may be set is looked at this often, in seconds, while an alarm is set."""
IDLE: Final = 60.0


class Alarms:
    """An alarm that is not wanted any more is told from what it finds: nothing is ever unset."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []

    def set(self, at: float, key: int) -> bool:
        """Note a time; whether it is now the earliest."""
        heappush(self._heap, (at, key))
        return self._heap[0] == (at, key)

    def passed(self, now: float) -> Iterator[int]:
        """The keys whose time has come, each once."""
        while self._heap and self._heap[0][0] <= now:
            yield heappop(self._heap)[1]

    def pause(self, now: float) -> float:
        """How long nothing needs to be done."""
        return max(0.0, min(self._heap[0][0] - now, LONGEST)) if self._heap else IDLE
