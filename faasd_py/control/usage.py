"""What the processes of functions use, asked of their runtimes when somebody wants to know, and not for long."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

import trio

from faasd_py.control.daemon import Function
from faasd_py.runtime.contract import Usage

WITHIN: Final = 2.0
"""Seconds for all of them; whoever has not answered by then is as last time."""
AT_ONCE: Final = 32
Ask = Callable[[], Awaitable[Usage | None]]


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
        known = [(one.label, one.runtime.usage) for one in functions if hasattr(one.runtime, "usage")]
        left = iter(known)
        async with self._asking:
            with trio.move_on_after(WITHIN):
                async with trio.open_nursery() as nursery:
                    for _ in known[:AT_ONCE]:
                        nursery.start_soon(self._ask, left)
            self._forget({function.label for function in functions})
        return {
            label: Usage(last.cpu_seconds + self._ended.get(label, 0.0), last.memory_bytes)
            for label, last in self._last.items()
        }

    async def _ask(self, left: Iterator[tuple[str, Ask]]) -> None:
        for label, usage in left:
            self._heard(label, await usage())

    def _heard(self, label: str, found: Usage | None) -> None:
        before = self._last.get(label)
        if found is None:
            if before is None:
                return
            found = Usage(0.0, 0)
        if before is not None and found.cpu_seconds < before.cpu_seconds:
            self._ended[label] = self._ended.get(label, 0.0) + before.cpu_seconds
        self._last[label] = found

    def _forget(self, here: set[str]) -> None:
        for known in (self._last, self._ended):
            for label in known.keys() - here:
                del known[label]
