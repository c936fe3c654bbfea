"""Other functions, or other settings of them: everybody who keeps books on functions is told, at once."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Final

import trio

from faasd_py.core.annotations import queue_of
from faasd_py.gateway.admission import Rates
from faasd_py.observe.metrics import Metrics
from faasd_py.runtime.registry import Registry

NOW_AND_THEN: Final = 60.0
"""Seconds after which they are told anyway: books have things that time makes obsolete."""

REST: Final = 20.0
"""So many times as long as it took nobody is told again: where thousands are deployed in a row, calls go on meanwhile."""


async def follow(registry: Registry, metrics: Metrics, rates: Rates, *refresh: Callable[[], object]) -> None:
    """Tell everybody at once, after every change of the functions, and now and then; until cancelled.

    Each has a step of the loop for itself: calls need not wait until the last one has looked at thousands of functions.
    """
    while True:
        changed, now, took = registry.changed, time.monotonic(), 0.0
        queues = {one.label: queue_of(one.settings.annotations) for one in registry.functions()}
        took += time.monotonic() - now
        books: list[Callable[[], object]] = [partial(metrics.heed, queues, now), partial(rates.keep, queues)]
        for tell in [*books, *refresh]:
            await trio.lowlevel.checkpoint()
            begun = time.monotonic()
            tell()
            took += time.monotonic() - begun
        await trio.sleep(took * REST)
        with trio.move_on_after(NOW_AND_THEN):
            await changed.wait()
