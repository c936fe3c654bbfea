"""The queue that several daemons share: `faasd_py.api.Queue` on a JetStream cluster."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from faasd_py.api import (
    Accepted,
    Call,
    Capabilities,
    Filter,
    IllegalMove,
    Lease,
    Outcome,
    QueueFull,
    QueueSite,
    QueueStats,
    QueueUnavailable,
    Record,
    Spool,
    Spooled,
    State,
    Verdict,
)
from faasd_py_jetstream.arrivals import Arrivals
from faasd_py_jetstream.bodies import Bodies
from faasd_py_jetstream.claims import Claims
from faasd_py_jetstream.context import Context, log, open_context
from faasd_py_jetstream.delivery import NAK
from faasd_py_jetstream.entry import Entry, Phase
from faasd_py_jetstream.figures import Figures
from faasd_py_jetstream.identity import NODE_BITS, Ids
from faasd_py_jetstream.inspection import Inspection
from faasd_py_jetstream.journal import JournalKeeper
from faasd_py_jetstream.lane import Lane
from faasd_py_jetstream.lanes import Lanes
from faasd_py_jetstream.names import turned
from faasd_py_jetstream.publisher import Answer, Promise
from faasd_py_jetstream.putting import publication
from faasd_py_jetstream.recovery import Recovery
from faasd_py_jetstream.settings import read_options
from faasd_py_jetstream.settle import Settler
from faasd_py_jetstream.stored_calls import StoredCalls
from faasd_py_jetstream.watch import Watch
from faasd_py_natsclient import NatsError

CAPABILITIES: Final = Capabilities(
    durable=True,
    delay=True,
    priority=True,
    expiry=True,
    dedup=True,
    inspect=True,
    cancel=True,
    results=True,
    dead_letters=True,
    shared=True,
)
LEAVE: Final = 5.0
"""Seconds that closing waits for what was settled."""


class JetStreamQueue:
    """Keeps `faasd_py.api.Queue`. Made by `open_queue`."""

    def __init__(self, context: Context, site: QueueSite, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        node = secrets.randbits(NODE_BITS)
        self._context = context
        self._settings = site.settings
        self._clock = context.clock
        self._ids = Ids(node)
        self._entries: dict[str, Entry] = {}
        self._figures = Figures()
        self._journal = JournalKeeper(context, f"{node:015x}")
        self._bodies = Bodies(context, site.directory / "bodies")
        self._stored_calls = StoredCalls(context, self._journal)
        self._arrivals = Arrivals(
            context, self._journal, self._bodies, self._stored_calls, self._figures, self._entries, nursery
        )
        self._lanes = Lanes(context, self._arrivals, self._tell_lanes)
        self._settler = Settler(
            context,
            self._lanes,
            self._journal,
            self._bodies,
            self._figures,
            self._ids,
            self._entries,
            nursery,
        )
        self._arrivals.lanes, self._arrivals.settler = self._lanes, self._settler
        self._inspection = Inspection(
            context,
            self._lanes,
            self._settler,
            self._stored_calls,
            self._bodies,
            self._figures,
            self._entries,
        )
        self._recovery = Recovery(context, site.directory, f"{node:015x}")
        self._watch = Watch(context, self._lanes, self._settler, self._figures, self._recovery, nursery)
        self._claims = Claims(context, self._put)
        self._lanes_subject = f"{context.names.root}.lanes"
        context.client.subscribe(self._lanes_subject, lambda _: self._watch.look())
        context.client.on_reconnected.append(self._again)
        self.next_lane = self._lanes.next_lane
        self.leave = self._lanes.leave
        self.wait_ready = self._lanes.wait_ready
        self.flush = self._settler.flush
        self.find = self._inspection.find
        self.request = self._inspection.request
        self.result = self._inspection.result
        self.cancel = self._inspection.cancel
        self.requeue = self._inspection.requeue
        self.forget = self._inspection.forget

    @property
    def capabilities(self) -> Capabilities:
        """See `faasd_py.api.Queue`."""
        return CAPABILITIES

    # putting

    async def put(self, call: Call) -> Accepted:
        """See `faasd_py.api.Queue.put`."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self._check_room(call)
        identity = self._ids.text(self._ids.new(self._clock()))
        if call.idempotency_key is not None and self._settings.idempotency_window > 0:
            accepted = await self._claims.accept(call, identity)
        else:
            await self._put(call, identity)
            accepted = Accepted(id=identity, call_id=call.call_id or identity)
        if isinstance(call.body, Spooled) and not accepted.duplicate:
            self._bodies.drop_file(call.body.path)
        return accepted

    def _check_room(self, call: Call) -> None:
        figures, settings = self._figures, self._settings
        if figures.depth >= settings.max_depth:
            raise QueueFull(f"the queue is full: {figures.depth} calls wait (max_depth)")
        if figures.bytes + call.size > settings.max_bytes:
            raise QueueFull(f"the queue is full: {figures.bytes} bytes wait (max_bytes)")

    async def _put(self, call: Call, identity: str) -> bool:
        """Put a call under an id; whether it was not there before.

        Raises:
            QueueFull, QueueUnavailable: as `put`.
        """
        lane = self._lanes.get(call.lane)
        source = lane.sources.get(turned(call.priority))
        if source is None or not source.usable:
            await self._make(call)
        stored = ""
        if self._bodies.large(call.body, call.size):
            stored = (await self._bodies.upload(identity, call.body)).header()
        publisher = self._context.publisher
        await publisher.room()
        self._check_room(call)
        post = publication(self._context, identity, call, stored)
        promise = Promise()
        self._count(lane, call.size, later=post.later)
        source = self._lanes.source(call.lane, turned(call.priority))
        source.expected += not post.later

        def done(answer: Answer) -> None:
            if isinstance(answer, QueueUnavailable) or answer.duplicate:
                self._uncount(lane, call.size, later=post.later)
            elif not source.usable:
                self._nursery.start_soon(self._heal, call)
            promise.keep(answer)

        publisher.send(
            post.subject,
            post.data,
            post.headers,
            done,
            within=self._context.options.put_timeout,
            stubborn=False,
        )
        return not (await promise.wait()).duplicate

    async def _heal(self, call: Call) -> None:
        """The consumer went away while the call was put."""
        with suppress(QueueUnavailable):
            await self._lanes.usable(call.lane, call.priority)

    async def _make(self, call: Call) -> None:
        """The first call of its kind: somebody must be able to get it."""
        with trio.move_on_after(self._context.options.put_timeout):
            await self._lanes.usable(call.lane, call.priority)
            return
        raise QueueUnavailable(self._context.publisher.reason())

    def _count(self, lane: Lane, size: int, *, later: bool) -> None:
        lane.delayed += later
        lane.ready += not later
        self._figures.add(size)

    def _uncount(self, lane: Lane, size: int, *, later: bool) -> None:
        if later:
            lane.delayed -= lane.delayed > 0
        else:
            lane.ready -= lane.ready > 0
        self._figures.take(size)

    # working

    def lease_nowait(self, lane: str) -> Lease | None:
        """See `faasd_py.api.Queue.lease_nowait`."""
        entry = self._lanes.take(lane)
        if entry is None:
            return None
        entry.state = State.LEASED
        return Lease(
            key=entry.key,
            id=entry.id,
            call=entry.call,
            attempt=entry.attempts + 1,
            crashed=entry.past.crashed,
            token=entry,
        )

    async def start(self, lease: Lease) -> None:
        """See `faasd_py.api.Queue.start`."""
        entry = self._held(lease)
        if entry.phase is not Phase.HELD:
            raise IllegalMove("cannot start a call that is started or settled already")
        entry.phase = Phase.STARTED
        entry.attempts += 1
        entry.started_at = self._clock()
        try:
            await self._journal.start(entry)
        except QueueUnavailable:
            entry.phase = Phase.HELD
            entry.attempts -= 1
            self._journal.ended(entry)
            raise

    @staticmethod
    def _held(lease: Lease) -> Entry:
        entry = lease.token
        if not isinstance(entry, Entry) or entry.phase not in {Phase.HELD, Phase.STARTED}:
            raise IllegalMove("cannot settle or start a lease that is settled already")
        return entry

    async def settle(
        self, lease: Lease, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        """See `faasd_py.api.Queue.settle`."""
        self._settler.settle(self._held(lease), verdict, outcome, callback)
        await self._settler.ease()

    # looking

    async def records(self, which: Filter, limit: int = 100) -> Sequence[Record]:
        """See `faasd_py.api.Queue.records`."""
        return await self._inspection.records(which, limit)

    async def requeue_all(self, which: Filter, limit: int = 1000) -> int:
        """See `faasd_py.api.Queue.requeue_all`."""
        return await self._inspection.requeue_all(which, limit)

    async def purge(self, which: Filter, limit: int = 1000) -> int:
        """See `faasd_py.api.Queue.purge`."""
        return await self._inspection.purge(which, limit)

    def stats(self) -> QueueStats:
        """See `faasd_py.api.Queue.stats`."""
        lanes = {name: lane.stats() for name, lane in self._lanes.named.items()}
        return QueueStats(lanes=lanes, bytes=self._figures.bytes, quarantined=self._figures.quarantined)

    def trouble(self) -> str | None:
        """See `faasd_py.api.Queue.trouble`."""
        if not self._context.client.connected:
            return f"there is no connection to a NATS server ({', '.join(self._context.options.servers)})"
        return self._context.publisher.trouble

    # its life

    def _tell_lanes(self) -> None:
        """This daemon made a consumer: the others look at once."""
        try:
            self._context.client.publish(self._lanes_subject, b"")
        except NatsError:
            return

    def _again(self) -> None:
        """A new connection: what was asked for on the old one will not come."""
        now = trio.current_time()
        for source in self._lanes.sources():
            source.lost()
        for lane in self._lanes.named.values():
            lane.fill(now)
        self._watch.look()

    async def begin(self, nursery: trio.Nursery) -> None:
        """Learn what is there, and start what runs beside.

        Raises:
            QueueUnavailable: the broker went away.
        """
        await self._recovery.take_over()
        await self._watch.look_once()
        nursery.start_soon(self._context.publisher.run)
        nursery.start_soon(self._watch.sweep)
        nursery.start_soon(self._watch.poll)

    async def close(self) -> None:
        """Finish what was settled; what is held otherwise is given back at once, for whoever is there."""
        with trio.move_on_after(LEAVE, shield=True):
            try:
                await self.flush()
                for source in self._lanes.sources():
                    source.close()
                for entry in list(self._entries.values()):
                    if entry.phase is not Phase.SETTLING:
                        self._settler.say(entry.reply, NAK)
                        self._bodies.drop_file(entry.file)
                await self._journal.close()
                await self._recovery.close()
                await self._context.client.flush(LEAVE)
            except (QueueUnavailable, NatsError) as error:
                log.warning("the queue closes without having said everything: %s", error)
        self._context.publisher.fail_all()


@asynccontextmanager
async def open_queue(
    site: QueueSite, *, clock: Callable[[], float] = time.time
) -> AsyncIterator[JetStreamQueue]:
    """The queue of the namespace that the options name; `clock` is the wall clock.

    Raises:
        ConfigError: the options are wrong.
        QueueBroken: the broker cannot serve this queue. QueueUnavailable: it is not there.
    """
    options = read_options(site.settings.options)
    site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    Spool(site.spool).sweep()
    raised: BaseException | None = None
    async with open_context(options, site.settings, clock) as context:
        async with trio.open_nursery() as nursery:
            queue = JetStreamQueue(context, site, nursery)
            await queue.begin(nursery)
            try:
                yield queue
            except BaseException as error:  # noqa: BLE001 - raised again below, as it is
                raised = error
            await queue.close()
            nursery.cancel_scope.cancel()
        if raised is not None:
            raise raised
