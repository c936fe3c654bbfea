"""Pure. What calls are counted with: plain numbers that the data path bumps and /metrics reads."""

from __future__ import annotations

from bisect import bisect_left
from typing import Final

BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds, as Prometheus clients in Go have them (OpenFaaS wire contract §3.1: .005 to 10)."""
SUM: Final = len(BUCKETS) + 1
"""Where a row keeps the sum of its seconds; below it are the counts, the last one of what is over every bound."""


class Timings:
    """How long things took, by the status they ended with.

    `rows` maps a status to its counts by duration and the sum of seconds. One thread writes; reading may lag by one.
    """

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: dict[int, list[float]] = {}

    def add(self, status: int, seconds: float) -> None:
        """One more ended, with this status after so many seconds."""
        row = self.rows.get(status)
        if row is None:
            row = self.rows[status] = [0] * SUM + [0.0]
        row[bisect_left(BUCKETS, seconds)] += 1
        row[SUM] += seconds


class Meter(Timings):
    """The calls of one function, synchronous and asynchronous."""

    __slots__ = ("inflight", "label", "started")

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label
        self.started = 0
        self.inflight = 0

    def __repr__(self) -> str:
        return f"<Meter {self.label}: {self.started} started, {self.inflight} in flight>"

    def begin(self) -> None:
        """A call begins."""
        self.started += 1
        self.inflight += 1

    def finish(self, status: int, seconds: float) -> None:
        """A call that began ended with this status after so many seconds."""
        self.inflight -= 1
        self.add(status, seconds)
