"""Pure. Which slots are due: a slot is a moment of the wall clock at which a function is to be called, once.

- A slot that could not be met within LATE seconds (the daemon was down, the machine slept, the clock was set forward) is
  missed. A function that catches up gets the last one of those that it missed, others none.
- After the clock was set back, slots that were met already do not come again; those of more than MEMORY seconds ahead were
  another clock's, and do not count.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from itertools import count
from math import inf
from typing import Final

import msgspec

from faasd_py.config.cron import Schedule

LATE: Final = 60.0
MEMORY: Final = 86400.0
STEP: Final = 1.0
"""Seconds that the clock may go back without being looked at anew."""
SLACK: Final = 64
"""Stale entries that may lie in the heap beyond one a line."""


class Plan(msgspec.Struct, frozen=True):
    """What one function wants; equal plans are the same plan."""

    texts: tuple[str, ...]
    catch_up: bool = False


class Due(msgspec.Struct, frozen=True):
    """A function's slots that are to be met now, in order, and whether others were missed."""

    label: str
    slots: tuple[float, ...]
    missed: bool = False


class Line:
    """One function's line in the table; `next` is its next slot, `last` the last one that was met or given up."""

    __slots__ = ("catch_up", "dropped", "label", "last", "next", "plan", "schedule")

    def __init__(self, label: str, plan: Plan, schedule: Schedule, last: float) -> None:
        self.label = label
        self.plan = plan
        self.schedule = schedule
        self.last = last
        self.next = inf
        self.dropped = False

    def __repr__(self) -> str:
        return f"<Line {self.label} {self.schedule!r} next {self.next}>"

    def was_met(self, slot: float) -> bool:
        """Already, as far as it is remembered."""
        return slot <= self.last <= slot + MEMORY


class Timetable:
    """All lines, the next one to come due in front. Times are seconds since 1970; `now` is always given."""

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}
        self._heap: list[tuple[float, int, Line]] = []
        self._numbers = count()
        self._seen = -inf

    def __len__(self) -> int:
        return len(self._lines)

    def next_of(self, label: str) -> float | None:
        """When a function comes due next; None when it has no schedule, or none that comes."""
        line = self._lines.get(label)
        return None if line is None or line.next == inf else line.next

    def plan_of(self, label: str) -> Plan | None:
        """What a function wants; None when it is not in the table."""
        line = self._lines.get(label)
        return None if line is None else line.plan

    def soonest(self) -> float:
        """When the first line comes due; infinite when none does."""
        heap = self._heap
        while heap and (heap[0][2].dropped or heap[0][0] != heap[0][2].next):
            heapq.heappop(heap)
        return heap[0][0] if heap else inf

    def differs(self, wanted: Mapping[str, Plan]) -> list[str]:
        """The labels whose plan is new or changed."""
        lines = self._lines
        return [label for label, plan in wanted.items() if label not in lines or lines[label].plan != plan]

    def drop(self, wanted: Mapping[str, Plan]) -> None:
        """Take out what is not wanted any more."""
        for label in self._lines.keys() - wanted.keys():
            self._lines.pop(label).dropped = True

    def put(
        self,
        label: str,
        plan: Plan,
        schedule: Schedule,
        now: float,
        last: float = -inf,
        *,
        behind: bool = False,
    ) -> None:
        """A line that is new or changed: from now on.

        `last` is its last slot as somebody else remembers it; `behind`: what came due since then under this very plan
        counts as missed.
        """
        old = self._lines.get(label)
        if old is not None:
            old.dropped, last, behind = True, max(last, old.last), False
        line = self._lines[label] = Line(label, plan, schedule, last)
        self._set(line, schedule.after(last if behind and last <= now else now))
        if len(self._heap) > 2 * len(self._lines) + SLACK:
            self._rebuild()

    def _rebuild(self) -> None:
        self._heap.clear()
        for line in self._lines.values():
            self._set(line, line.next)

    def due(self, now: float) -> list[Due]:
        """The lines that have come due, each moved on to its next slot."""
        if now < self._seen - STEP:
            self._heap.clear()
            for line in self._lines.values():
                self._set(line, line.schedule.after(now))
        self._seen = now
        found = []
        while self.soonest() <= now:
            line = heapq.heappop(self._heap)[2]
            if (due := self._meet(line, now)) is not None:
                found.append(due)
        return found

    def _meet(self, line: Line, now: float) -> Due | None:
        first = slot = line.next
        late = slot <= now - LATE
        if late:
            slot = self._after_gap(line, now)
        slots = []
        while slot <= now:
            if not line.was_met(slot):
                slots.append(slot)
            slot = line.schedule.after(slot)
        missed = late and not line.was_met(first) and slots[:1] != [first]
        self._set(line, slot)
        if slots:
            line.last = slots[-1]
        return Due(line.label, tuple(slots), missed) if slots or missed else None

    def _after_gap(self, line: Line, now: float) -> float:
        """Where to go on when slots may have been missed."""
        if line.plan.catch_up and (last := line.schedule.until(now)) <= now - LATE:
            return last
        return line.schedule.after(now - LATE)

    def _set(self, line: Line, slot: float) -> None:
        line.next = slot
        if slot < inf:
            heapq.heappush(self._heap, (slot, next(self._numbers), line))
