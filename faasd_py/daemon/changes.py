"""Other functions, or other settings of them: everybody who keeps books on functions is told, at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from faasd_py.runtime.registry import Registry

NOW_AND_THEN: Final = 60.0
"""Seconds after which they are told anyway: books have things that time makes obsolete."""


async def follow(registry: Registry, *heed: Callable[[], object]) -> None:
    """Call each of `heed` after every change of the functions, and now and then; until cancelled."""
    while True:
        changed = registry.changed
        for one in heed:
            one()
        with trio.move_on_after(NOW_AND_THEN):
            await changed.wait()
