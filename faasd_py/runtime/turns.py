"""One at a time: changes of the same function wait for each other, changes of others do not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager

import trio


class Turns:
    """A lock for each label, kept only while somebody has it or waits for it."""

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}

    def __repr__(self) -> str:
        return f"<Turns: {', '.join(sorted(self._locks))}>"

    def taken(self) -> set[str]:
        """The labels whose turn somebody has or waits for."""
        return set(self._locks)

    @asynccontextmanager
    async def of(self, labels: Iterable[str]) -> AsyncIterator[None]:
        """Have the turn of all these labels; always taken in the same order, so that nobody waits in a circle."""
        async with AsyncExitStack() as stack:
            for label in sorted(set(labels)):
                await stack.enter_async_context(self._one(label))
            yield

    @asynccontextmanager
    async def _one(self, label: str) -> AsyncIterator[None]:
        lock = self._locks.setdefault(label, trio.Lock())
        try:
            async with lock:
                yield
        finally:
            statistics = lock.statistics()
            if not statistics.locked and not statistics.tasks_waiting and self._locks.get(label) is lock:
                del self._locks[label]
