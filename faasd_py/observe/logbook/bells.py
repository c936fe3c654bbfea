"""Who waits for new lines, by function."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import trio


class Bell:
    """One who waits. Renew it, look, and then wait: nothing is missed."""

    __slots__ = ("_event",)

    def __init__(self) -> None:
        self._event = trio.Event()

    def renew(self) -> None:
        """What has rung so far is forgotten."""
        self._event = trio.Event()

    def ring(self) -> None:
        """Whoever waits, or will, goes on."""
        self._event.set()

    async def wait(self) -> None:
        """Until it has rung since it was renewed."""
        await self._event.wait()


class Bells:
    """By label. `in` may be asked by any thread."""

    def __init__(self) -> None:
        self._bells: dict[str, set[Bell]] = {}

    def __contains__(self, label: str) -> bool:
        return label in self._bells

    def __len__(self) -> int:
        return sum(map(len, self._bells.values()))

    @contextmanager
    def listen(self, label: str) -> Iterator[Bell]:
        """A bell that rings for this function, while the block lasts."""
        bell = Bell()
        bells = self._bells.setdefault(label, set())
        bells.add(bell)
        try:
            yield bell
        finally:
            bells.discard(bell)
            if not bells and self._bells.get(label) is bells:
                del self._bells[label]

    def ring(self, labels: Iterable[str]) -> None:
        """There is something new of these."""
        for label in labels:
            for bell in self._bells.get(label, ()):
                bell.ring()

    def ring_all(self) -> None:
        """There is something new for everybody."""
        self.ring(list(self._bells))
