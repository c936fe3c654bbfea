"""The default backend: one SQLite file, group commit, every 202 on stable storage."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import trio

from faasd_py.hookspecs import QueueSite, RegisterQueue, hookimpl
from faasd_py.queue.beside import tasks_beside
from faasd_py.queue.options import refuse_options
from faasd_py.queue.sqlite.committer import Committer
from faasd_py.queue.sqlite.opening import open_store
from faasd_py.queue.sqlite.queue import CAPABILITIES, SqliteQueue

__all__ = ["CAPABILITIES", "SqliteQueue", "faasd_py_register_queues", "open_queue"]


@asynccontextmanager
async def open_queue(
    site: QueueSite, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[SqliteQueue]:
    """The queue in `site.directory`; `clock` is the wall clock, in seconds since 1970.

    Raises:
        QueueBroken: the file cannot be used; the text names it and says why.
    """
    opened = await trio.to_thread.run_sync(open_store, site, clock)
    committer = Committer(opened.store, opened.ballast, opened.damaged)
    queue = SqliteQueue(site.settings, opened, committer, clock)
    committer.start(trio.lowlevel.current_trio_token(), queue.land)
    try:
        async with tasks_beside() as nursery:
            nursery.start_soon(queue.upkeep.run, queue)
            yield queue
    finally:
        with trio.CancelScope(shield=True):
            await queue.close()


def _open(site: QueueSite) -> AbstractAsyncContextManager[SqliteQueue]:
    refuse_options(site)
    return open_queue(site)


@hookimpl
def faasd_py_register_queues(register: RegisterQueue) -> None:
    """Offer "sqlite"."""
    register("sqlite", _open, CAPABILITIES)
