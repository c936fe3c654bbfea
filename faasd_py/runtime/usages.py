"""What process groups use: all are looked at together, for a look costs as much for one of them as for all."""

from __future__ import annotations

import math
from typing import Final

import trio

from faasd_py.runtime.contract import Usage
from faasd_py.runtime.session import usages

_FRESH: Final = 0.05
"""Seconds for which a look is as good as new."""


class Usages:
    """Whoever asks while somebody looks waits for what he finds."""

    def __init__(self) -> None:
        self._turn = trio.Lock()
        self._looked_at = -math.inf
        self._found: dict[int, Usage] = {}

    async def of(self, group: int) -> Usage | None:
        """Of this process group; None when there is nothing of it."""
        async with self._turn:
            if trio.current_time() - self._looked_at > _FRESH:
                self._found = await trio.to_thread.run_sync(usages, abandon_on_cancel=True)
                self._looked_at = trio.current_time()
        return self._found.get(group)
