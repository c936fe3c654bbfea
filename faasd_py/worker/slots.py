"""Pure. The slots that many lanes share, dealt out lane by lane. Decides and never waits: whoever gets a slot is to be woken.

A lane waits here at most once, in the order of arrival; so waiting lanes are served in turn, however many calls each has.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

W = TypeVar("W")


class Slots(Generic[W]):
    """At most `limit` holders at once; `W` is who waits for a lane."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._waiting: OrderedDict[str, W] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Slots {self.used}/{self.limit}, {len(self._waiting)} lanes waiting>"

    def take(self) -> bool:
        """Take a slot, if one is free that nobody waits for."""
        if self.used >= self.limit or self._waiting:
            return False
        self.used += 1
        return True

    def queue(self, lane: str, who: W) -> None:
        """`who` waits for a slot for this lane."""
        self._waiting[lane] = who

    def forget(self, lane: str) -> W | None:
        """The lane waits no longer; who waited for it."""
        return self._waiting.pop(lane, None)

    def contested(self, lane: str) -> bool:
        """A holder of this lane must give its slot back now: another lane waits, or there are too many holders."""
        waiting = self._waiting
        if self.used > self.limit:
            return True
        return bool(waiting) and not (len(waiting) == 1 and lane in waiting)

    def give(self) -> list[W]:
        """Give a slot back; those who have one now, to be woken."""
        self.used -= 1
        return self._deal()

    def resize(self, limit: int) -> list[W]:
        """The limit changed; those who have a slot now, to be woken."""
        self.limit = limit
        return self._deal()

    def _deal(self) -> list[W]:
        woken: list[W] = []
        while self._waiting and self.used < self.limit:
            self.used += 1
            woken.append(self._waiting.popitem(last=False)[1])
        return woken
