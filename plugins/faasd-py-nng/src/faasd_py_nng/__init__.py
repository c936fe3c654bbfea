"""The queue of one faasd-py daemon offered to others over nng. This side: the spoke, `[queue] backend = "nng"`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import msgspec
import trio

from faasd_py.api import (
    Capabilities,
    Queue,
    QueueSite,
    RegisterQueue,
    hookimpl,
    open_sqlite_queue,
    tasks_beside,
)
from faasd_py_nng.forward import ForwardQueue
from faasd_py_nng.identity import Identity
from faasd_py_nng.remote import RemoteQueue
from faasd_py_nng.settings import SPOKE, read_key, read_spoke_options, spoke_certificates

api_version: Final = 1
CAPABILITIES: Final = Capabilities(
    durable=True, delay=True, priority=True, expiry=True, dedup=True, inspect=True, cancel=True, results=True,
    dead_letters=True, shared=True,
)  # fmt: skip
"""With a hub whose queue is the built-in one; a spoke that is open tells what its hub's can do."""
PARTING: Final = 3.0
"""Seconds to tell the hub what was settled, when closing."""


@asynccontextmanager
async def open_queue(site: QueueSite) -> AsyncIterator[Queue]:
    """The hub's queue. When the hub is away the queue opens all the same, and says so by `trouble`.

    Raises:
        ConfigError: `[queue.options]` is wrong.
    """
    options = read_spoke_options(site.settings.options)
    key, certificates = read_key(options.key_file, SPOKE), spoke_certificates(options)
    site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    identity = Identity(site.directory)
    queue = RemoteQueue(options, identity, key, certificates, site.directory, site.settings.max_result)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(_linked(queue))
        with trio.move_on_after(float(options.connect_timeout)):
            await queue.wait_up()
        if options.mode == "remote":
            yield queue
            return
        local = await stack.enter_async_context(open_sqlite_queue(_local_site(site)))
        forward = ForwardQueue(queue, local, identity.spoke, float(options.put_timeout))
        nursery = await stack.enter_async_context(tasks_beside())
        nursery.start_soon(forward.forward)
        yield forward


def _local_site(site: QueueSite) -> QueueSite:
    """The local queue is bounded by this daemon's own `max_depth` and `max_bytes`."""
    settings = msgspec.structs.replace(site.settings, options={})
    return QueueSite(settings=settings, directory=site.directory / "forward", spool=site.spool)


@asynccontextmanager
async def _linked(queue: RemoteQueue) -> AsyncIterator[None]:
    """The link is kept while the body runs, and says its last words."""
    async with tasks_beside() as nursery:
        nursery.start_soon(queue.run)
        try:
            yield
        finally:
            with trio.CancelScope(shield=True):
                await queue.close(PARTING)


@hookimpl
def faasd_py_register_queues(register: RegisterQueue) -> None:
    """Offer "nng"."""
    register("nng", open_queue, CAPABILITIES)
