"""Which paths to grant so that all of some are open, but not others that lie among them. Standard library only.

Landlock knows only grants. So a directory that holds something closed is not granted itself; what it holds is, one by
one, as it is at this moment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress


def spread(opened: Iterable[bytes], closed: Iterable[bytes]) -> list[bytes]:
    """Paths that together hold all that is `opened` and nothing of what is `closed`; links are followed first.

    What is closed stays so, also when what is opened lies within it.
    """
    walls = {os.path.realpath(path) for path in closed}
    found: dict[bytes, None] = {}
    for path in opened:
        found.update(dict.fromkeys(_around(os.path.realpath(path), walls)))
    return list(found)


def _around(path: bytes, walls: set[bytes]) -> Iterator[bytes]:
    if any(_holds(wall, path) for wall in walls):
        return
    within = {wall for wall in walls if _holds(path, wall)}
    if not within:
        yield path
        return
    with suppress(OSError), os.scandir(path) as entries:
        for entry in entries:
            # A link's target is open or closed by its own place.
            if not entry.is_symlink():
                yield from _around(entry.path, within)


def _holds(outer: bytes, inner: bytes) -> bool:
    """Whether `inner` is `outer` or lies below it."""
    return inner == outer or inner.startswith(outer.rstrip(b"/") + b"/")
