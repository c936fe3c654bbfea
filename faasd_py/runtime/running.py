"""How many calls a runtime has in hand, and the moment when there are none."""

from __future__ import annotations

import trio


class Running:
    """`with running:` around each call; `await running.drained()` once no new ones come."""

    __slots__ = ("_idle", "count")

    def __init__(self) -> None:
        self.count = 0
        self._idle: trio.Event | None = None

    def __enter__(self) -> None:
        self.count += 1

    def __exit__(self, *_: object) -> None:
        self.count -= 1
        if self._idle is not None and not self.count:
            self._idle.set()

    async def drained(self) -> None:
        """Returns when no call runs."""
        while self.count:
            self._idle = trio.Event()
            await self._idle.wait()
