"""The queue of one faasd-py daemon offered to others over nng. This side: the spoke, `[queue] backend = "nng"`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio
from faasd_py.api import Capabilities, Queue, QueueSite, RegisterQueue, hookimpl

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
    async with _running(queue):
        with trio.move_on_after(float(options.connect_timeout)):
            await queue.wait_up()
        yield queue


@asynccontextmanager
async def _running(queue: RemoteQueue) -> AsyncIterator[None]:
    """What the body raises comes out as it is, not in a group."""
    raised: BaseException | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.run)
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again below, whatever it is
            raised = error
        with trio.CancelScope(shield=True):
            await queue.close(PARTING)
        nursery.cancel_scope.cancel()
    if raised is not None:
        raise raised


@hookimpl
def faasd_py_register_queues(register: RegisterQueue) -> None:
    """Offer "nng"."""
    register("nng", open_queue, CAPABILITIES)
