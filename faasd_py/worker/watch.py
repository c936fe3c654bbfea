"""The watch: ends attempts at their deadline. One sleeper for all of them instead of a timer for each.

Deadlines are mostly set further and further ahead, so the sleeper wakes once in a timeout's length, looks at what
still runs, and sleeps until the earliest of those. A deadline earlier than that wakes it at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf
from typing import Protocol

import trio


class Watched(Protocol):
    """Who has a deadline; `inf` for none."""

    deadline: float

    def expire(self) -> None:
        """The deadline has passed."""
        ...


class Watch:
    """Watches those in `running`; times are the run's clock (`trio.current_time`)."""

    def __init__(self, running: Iterable[Watched]) -> None:
        self._running = running
        self._scope = trio.CancelScope()
        self._soonest = inf

    def arm(self, deadline: float) -> None:
        """Somebody in `running` has this deadline now."""
        if deadline < self._soonest:
            self._soonest = deadline
            self._scope.deadline = deadline

    async def run(self) -> None:
        """Keep watch until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._soonest) as self._scope:
                await trio.sleep_forever()
            self._look()

    def _look(self) -> None:
        now, self._soonest = trio.current_time(), inf
        for one in list(self._running):
            if one.deadline <= now:
                one.expire()
            elif one.deadline < self._soonest:
                self._soonest = one.deadline
