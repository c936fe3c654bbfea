"""`open_queue`: the queue for as long as a block runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import trio

from faasd_py.api import ConfigError, QueueBroken, QueueSite, Spool, read_secret, tasks_beside
from faasd_py_nats_streaming import settings
from faasd_py_nats_streaming.bodies import Bodies
from faasd_py_nats_streaming.channels import Channels
from faasd_py_nats_streaming.counters import Counters
from faasd_py_nats_streaming.formats import make_format
from faasd_py_nats_streaming.journal import Journal
from faasd_py_nats_streaming.parts import Parts
from faasd_py_nats_streaming.publishing import Publishing
from faasd_py_nats_streaming.putting import Putting
from faasd_py_nats_streaming.queue import StanQueue
from faasd_py_nats_streaming.receiver import Receiver
from faasd_py_nats_streaming.session import Session
from faasd_py_nats_streaming.settings import Options
from faasd_py_nats_streaming.upkeep import Upkeep
from faasd_py_nats_streaming.work import Work
from faasd_py_natsclient import AuthRefused, BadServer, Client, Closed, TlsRefused, connect

FIRST: Final = 5.0
"""Seconds that the opening waits for the server; without one the queue opens and says its trouble."""
LAST: Final = 5.0
"""Seconds that the end waits until what was settled is published."""
MAX_PENDING: Final = 32 << 20


@asynccontextmanager
async def open_queue(site: QueueSite, *, clock: Callable[[], float] = time.time) -> AsyncIterator[StanQueue]:
    """The queue on this site. `clock` is the wall clock.

    Raises:
        ConfigError: an option is wrong, the server refuses the credentials, or TLS is refused at the start.
        QueueBroken: the directory cannot be used.
    """
    options = settings.read_options(site.settings.options)
    try:
        site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        shelf, journal = Bodies(site.directory / "bodies"), Journal(site.directory / "journal")
        Spool(site.spool).sweep()
    except OSError as error:
        raise QueueBroken(f"{site.directory}: cannot be used: {error.strerror}") from error
    try:
        async with _connected(options) as nats, tasks_beside() as nursery:
            session = Session(nats, options)
            parts = _parts(site, options, session, shelf, journal, clock, nursery)
            async with _running(parts) as queue:
                yield queue
    finally:
        journal.close()


@asynccontextmanager
async def _connected(options: Options) -> AsyncIterator[Client]:
    where = settings.WHERE
    try:
        async with connect(
            options.servers, name=options.client_id, user=options.user,
            password=read_secret(options.password_file, f"{settings.WHERE}.password_file"),
            token=read_secret(options.token_file, f"{settings.WHERE}.token_file"), tls=settings.tls_context(options),
            reconnect_wait=options.reconnect_wait, connect_timeout=max(options.connect_timeout, 1.0),
            max_pending=MAX_PENDING, wait_first=True,
        ) as nats:  # fmt: skip
            yield nats
    except BadServer as error:
        raise ConfigError(f"{where}.servers: {error}") from None
    except AuthRefused as error:
        raise ConfigError(f"{where}: the NATS server refuses us: {error}") from None
    except TlsRefused as error:
        raise ConfigError(f"{where}: no TLS with the NATS server {error}") from None
    except Closed as error:
        raise QueueBroken(f"the NATS server is gone for good: {error}") from None


def _parts(
    site: QueueSite,
    options: Options,
    session: Session,
    shelf: Bodies,
    journal: Journal,
    clock: Callable[[], float],
    nursery: trio.Nursery,
) -> Parts:
    counters = Counters(journal, counting=options.consume)
    return Parts(
        options=options, settings=site.settings, session=session, channels=Channels(options, session),
        journal=journal, counters=counters, publishing=Publishing(session, counters),
        format=make_format(options.format, options.namespace), shelf=shelf, clock=clock, nursery=nursery,
    )  # fmt: skip


@asynccontextmanager
async def _running(parts: Parts) -> AsyncIterator[StanQueue]:
    session, nursery = parts.session, parts.nursery
    capabilities = parts.format.capabilities(session.nats.max_payload)
    putting = Putting(parts, capabilities)
    work = Work(parts, putting)
    upkeep = Upkeep(parts, work)
    for task in (session.run, upkeep.watch_clock, upkeep.rounds, parts.channels.follow):
        nursery.start_soon(task)
    with trio.move_on_after(FIRST):
        await session.wait_up()
    try:
        await parts.channels.open(Receiver(parts).receive)
        yield StanQueue(parts, capabilities, putting, work)
    finally:
        with trio.move_on_after(LAST, shield=True):
            await work.closed()
            await session.pubs.empty()
        await session.close()
        upkeep.write_down()
