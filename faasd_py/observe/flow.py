"""Pure. How many calls came into each lane and how many were finished, over the last minute or so: plain counts in buckets."""

from __future__ import annotations

from collections import deque
from typing import Final

BUCKETS: Final = 4
TICK: Final = 15.0
"""Seconds between two ticks: so the figures are of the last 60 to 75 seconds."""


class Flow:
    """Counts. What did not move for a minute is forgotten, so this is as large as what moves."""

    def __init__(self, began: float = 0.0) -> None:
        self._began: deque[float] = deque([began])
        self._past: deque[tuple[dict[str, int], dict[str, int]]] = deque(maxlen=BUCKETS)
        self.came: dict[str, int] = {}
        self.went: dict[str, int] = {}

    def put(self, lane: str) -> None:
        """A call was accepted."""
        self.came[lane] = self.came.get(lane, 0) + 1

    def over(self, lane: str) -> None:
        """A call was finished, whatever came of it."""
        self.went[lane] = self.went.get(lane, 0) + 1

    def tick(self, now: float) -> None:
        """Begin a new bucket; `now` in seconds, by the clock that `began` was of."""
        self._past.append((self.came, self.went))
        self.came, self.went = {}, {}
        self._began.append(now)
        if len(self._began) > BUCKETS + 1:
            self._began.popleft()

    def rates(self, now: float) -> dict[str, tuple[float, float]]:
        """Accepted and finished calls a second, by lane, of those that moved."""
        seconds = max(now - self._began[0], 1.0)
        buckets = [*self._past, (self.came.copy(), self.went.copy())]
        lanes = {lane for bucket in buckets for counts in bucket for lane in counts}
        return {
            lane: (
                sum(came.get(lane, 0) for came, _ in buckets) / seconds,
                sum(went.get(lane, 0) for _, went in buckets) / seconds,
            )
            for lane in lanes
        }
