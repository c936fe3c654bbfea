"""What the processes of functions use, asked of their runtimes when somebody wants to know, and not for long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import trio

from faasd_py.control.daemon import Function
from faasd_py.runtime.contract import Usage

WITHIN: Final = 2.0
"""Seconds for all of them; whoever has not answered by then is as last time."""
AT_ONCE: Final = 32


class Usages:
    """The last answers by label. Seconds of CPU only grow, also when a replica ends and takes its own with it."""

    def __init__(self) -> None:
        self._last: dict[str, Usage] = {}
        self._ended: dict[str, float] = {}
        self._asking = trio.Lock()

    def __repr__(self) -> str:
        return f"<Usages of {len(self._last)} functions>"

    async def ask(self, functions: Sequence[Function]) -> dict[str, Usage]:
        """What each uses; a function that does not know, or was never heard of, is left out."""
        limit = trio.CapacityLimiter(AT_ONCE)
        async with self._asking:
            with trio.move_on_after(WITHIN):
                async with trio.open_nursery() as nursery:
                    for function in functions:
                        usage = getattr(function.runtime, "usage", None)
                        if usage is not None:
                            nursery.start_soon(partial(self._ask, function.label, usage, limit))
            self._forget({function.label for function in functions})
        return {
            label: Usage(last.cpu_seconds + self._ended.get(label, 0.0), last.memory_bytes)
            for label, last in self._last.items()
        }

    async def _ask(
        self, label: str, usage: Callable[[], Awaitable[Usage | None]], limit: trio.CapacityLimiter
    ) -> None:
        async with limit:
            found = await usage()
        if found is None:
            found = Usage(0.0, 0)
            if label not in self._last:
                return
        before = self._last.get(label)
        if before is not None and found.cpu_seconds < before.cpu_seconds:
            self._ended[label] = self._ended.get(label, 0.0) + before.cpu_seconds
        self._last[label] = found

    def _forget(self, here: set[str]) -> None:
        for known in (self._last, self._ended):
            for label in known.keys() - here:
                del known[label]
