"""Other functions, or other settings of them: everybody who keeps books on functions is told, at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import trio

from faasd_py.core.annotations import queue_of
from faasd_py.observe.metrics import Metrics
from faasd_py.runtime.registry import Registry

NOW_AND_THEN: Final = 60.0
"""Seconds after which they are told anyway: books have things that time makes obsolete."""


async def follow(registry: Registry, metrics: Metrics, *heed: Callable[[], object]) -> None:
    """Tell the metrics and call each of `heed` after every change of the functions, and now and then; until cancelled."""
    while True:
        changed = registry.changed
        queues = {one.label: queue_of(one.settings.annotations) for one in registry.functions()}
        metrics.heed(queues, time.monotonic())
        for one in heed:
            one()
        with trio.move_on_after(NOW_AND_THEN):
            await changed.wait()
