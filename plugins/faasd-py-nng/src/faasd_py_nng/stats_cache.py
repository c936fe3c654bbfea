"""The queue's figures, as fresh as they are cheap."""

from __future__ import annotations

import time
from typing import Final

from faasd_py.api import Queue, QueueStats

CHEAP: Final = 0.0002
"""Seconds of this thread's time that are worth a fresh answer every time."""
SHARE: Final = 20
"""Dearer figures are counted no more often than this share of the time allows."""


class StatsCache:
    """Counting takes as long as there are lanes, with some backends as long as there are calls."""

    def __init__(self, queue: Queue) -> None:
        self._queue = queue
        self._cost = 0.0
        self._at = 0.0
        self.latest: QueueStats = queue.stats()

    def now(self) -> QueueStats | None:
        """Fresh figures; None when they would cost too much now."""
        if self._cost > CHEAP and time.monotonic() - self._at < self._cost * SHARE:
            return None
        start = time.thread_time()
        self.latest = self._queue.stats()
        self._cost = time.thread_time() - start
        self._at = time.monotonic()
        return self.latest
