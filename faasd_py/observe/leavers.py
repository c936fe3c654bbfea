"""Pure. Who is gone, and since when: what is counted under a name is kept for a while, and for so many names at most."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from itertools import islice
from typing import Final

KEPT: Final = 900.0
"""Seconds that the counts of a function that was removed stay on the page."""
MOST: Final = 1000
"""So many functions that were removed are remembered; of more, the first ones go at once."""


class Leavers:
    """Times are seconds of any clock that does not go back."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._since)

    def look(self, names: Iterable[str], here: AbstractSet[str], now: float) -> list[str]:
        """Of `names`, who is not `here` and has been so for too long: they are forgotten."""
        since = self._since
        for name in [name for name in since if name in here]:
            del since[name]
        for name in names:
            if name not in here:
                since.setdefault(name, now)
        crowd = set(islice(since, max(0, len(since) - MOST)))
        gone = [name for name, begun in since.items() if name in crowd or now - begun >= KEPT]
        for name in gone:
            del since[name]
        return gone
