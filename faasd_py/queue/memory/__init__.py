"""The queue in memory: the same contract, for tests and throw-away installs. Nothing survives the process."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

from faasd_py.hookspecs import QueueSite, RegisterQueue, hookimpl
from faasd_py.queue.beside import tasks_beside
from faasd_py.queue.memory.queue import CAPABILITIES, MemoryQueue
from faasd_py.queue.options import refuse_options
from faasd_py.queue.spool import BodyStore, Spool

__all__ = ["CAPABILITIES", "MemoryQueue", "faasd_py_register_queues", "open_queue"]


@asynccontextmanager
async def open_queue(
    site: QueueSite, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[MemoryQueue]:
    """An empty queue; large bodies lie in `site.directory` while it is open. `clock` is the wall clock."""
    body_store = BodyStore(site.directory / "bodies")
    for key in body_store.present():
        body_store.remove(key)
    Spool(site.spool).sweep()
    queue = MemoryQueue(site.settings, body_store, clock)
    async with tasks_beside() as nursery:
        nursery.start_soon(queue.watch_clock)
        yield queue


def _open(site: QueueSite) -> AbstractAsyncContextManager[MemoryQueue]:
    refuse_options(site)
    return open_queue(site)


@hookimpl
def faasd_py_register_queues(register: RegisterQueue) -> None:
    """Offer "memory"."""
    register("memory", _open, CAPABILITIES)
