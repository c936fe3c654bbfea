"""When a function whose replicas fail may be tried again."""

from __future__ import annotations

import math
from typing import Final

_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 30.0
_GOOD_RUN: Final = 10.0
"""Seconds of readiness after which an end is no longer held against a function."""


class Backoff:
    """`not_before` is the time of the next start; `failures` are those in a row, `reason` is the last one's.

    Replicas that were up side by side and failed one after the other failed together: that is one failure, however many
    they were. Only one that was started after the last failure is the next in the row.
    """

    def __init__(self) -> None:
        self.not_before = -math.inf
        self.failures = 0
        self.reason = ""
        self._failed_at = -math.inf

    def good(self) -> None:
        """One is ready: what was wrong before explains nothing any more."""
        self.reason = ""

    def failed(self, reason: str, started_at: float, ready_at: float, now: float) -> float:
        """The next start waits so many seconds: twice as long each time, unless this one was ready for a good while."""
        self.reason = reason
        if started_at < self._failed_at:
            return max(0.0, self.not_before - now)
        self._failed_at = now
        if ready_at and now - ready_at >= _GOOD_RUN:
            self.failures = 0
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self.failures, 10))
        self.failures += 1
        self.not_before = now + wait
        return wait
