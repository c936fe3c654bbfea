"""What callers without a replica wait for."""

from __future__ import annotations

import trio


class News:
    """One is ready, or the attempt failed: then `failure` says why."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.failure = ""

    @property
    def waiting(self) -> bool:
        """Whether anybody waits."""
        return self.event.statistics().tasks_waiting > 0
