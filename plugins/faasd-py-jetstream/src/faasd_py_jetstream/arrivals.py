"""From a delivered message to a call at hand.

A first delivery is at hand at once. One that was delivered before is looked into: its row may say that it is over, or
how many attempts it had; a journal may say that an attempt was cut short. A large body is fetched first.
"""

from __future__ import annotations

from typing import Final

import msgspec
import trio

from faasd_py.api import QueueUnavailable, Spooled, State
from faasd_py_jetstream import rows
from faasd_py_jetstream.bodies import Bodies
from faasd_py_jetstream.context import Context, log
from faasd_py_jetstream.delivery import ACK, Delivery, nak, parse
from faasd_py_jetstream.entry import Entry, Past, Phase
from faasd_py_jetstream.figures import Figures
from faasd_py_jetstream.identity import key_of
from faasd_py_jetstream.journal import JournalKeeper
from faasd_py_jetstream.lanes import Lanes
from faasd_py_jetstream.names import QUARANTINE, identity_of, is_id
from faasd_py_jetstream.settle import Settler
from faasd_py_jetstream.source import Source
from faasd_py_jetstream.stored_calls import StoredCalls
from faasd_py_natsclient import Message

EARLY: Final = 0.001
"""Seconds that a call may be given out before its time."""
AGAIN: Final = 1.0
"""Seconds until a call that could not be looked into is given out again."""
OVER: Final = frozenset({State.DONE, State.DEAD, State.CANCELLED})
SCHEDULED: Final = "Nats-Scheduler"


class Arrivals:
    """Told by the sources (`source.Listener`)."""

    def __init__(
        self, context: Context, journal: JournalKeeper, bodies: Bodies, stored_calls: StoredCalls, figures: Figures,
        entries: dict[str, Entry], nursery: trio.Nursery,
    ) -> None:  # fmt: skip
        self._context = context
        self._journal = journal
        self._bodies = bodies
        self._stored_calls = stored_calls
        self._figures = figures
        self._entries = entries
        self._nursery = nursery
        self.lanes: Lanes
        self.settler: Settler

    def came(self, source: Source, message: Message) -> None:
        """See `source.Listener.came`."""
        delivery = parse(message.reply)
        if delivery is None:
            return
        held = source.unacked.get(delivery.seq)
        if held is not None:
            held.reply, held.count = message.reply, delivery.count
            return
        source.backlog = delivery.pending
        entry = self._read(source, message, delivery)
        if entry is None:
            return
        past = source.pasts.pop(delivery.seq, None)
        again = delivery.count > 1 or delivery.seq <= source.highest
        source.highest = max(source.highest, delivery.seq)
        source.unacked[delivery.seq] = entry
        self._entries[entry.id] = entry
        if past is not None and delivery.count <= past.count + 1:
            self._take_past(entry, past)
            again = False
        elif message.headers and SCHEDULED in message.headers and not again:
            self._due(entry)
        if again or entry.stored or self._early(entry):
            entry.phase = Phase.COMING
            if again:
                entry.lane.coming.append(entry)
            self._nursery.start_soon(self._look_into, entry, again)
        else:
            self.lanes.arrived(entry)

    def _read(self, source: Source, message: Message, delivery: Delivery) -> Entry | None:
        identity = identity_of(message.subject)
        try:
            call = rows.decode_call(message.data)
            stored = (message.headers or {}).get(rows.BODY, "")
            size = call.size + (rows.read_stored(stored).size if stored else 0)
        except (msgspec.DecodeError, ValueError) as error:
            self._quarantine(source, message, delivery, str(error))
            return None
        if not is_id(identity) or call.lane != source.lane:
            self._quarantine(source, message, delivery, f"it is no call of lane {source.lane}")
            return None
        return Entry(
            key_of(identity), identity, self.lanes.get(source.lane), source, call, size, delivery.seq, message.reply,
            delivery.count, trio.current_time(), stored=stored,
        )  # fmt: skip

    def _quarantine(self, source: Source, message: Message, delivery: Delivery, reason: str) -> None:
        """A message that is no call is set aside among the dead letters, and no longer given out."""
        log.error("message %d of %s cannot be read: %s", delivery.seq, source.consumer, reason)
        subject = f"{self._context.names.root}.dead.{QUARANTINE}.{source.consumer}.-.{delivery.seq}"
        self.settler.step((subject, message.data, {}), lambda _: self.settler.say(message.reply, ACK))

    def _take_past(self, entry: Entry, past: Past) -> None:
        entry.past = past
        entry.attempts, entry.history, entry.outcome = past.attempts, past.history, past.outcome
        entry.reason, entry.started_at = past.reason, past.started_at
        entry.status = past.outcome.status if past.outcome else None
        if past.due is not None and not self._early(entry):
            self._due(entry)

    def _due(self, entry: Entry) -> None:
        """It was counted as delayed."""
        if entry.lane.delayed:
            entry.lane.delayed -= 1
            entry.lane.ready += 1

    def _not_ready(self, entry: Entry) -> None:
        """It was counted as waiting, and is over."""
        self._figures.take(entry.size)
        entry.lane.ready -= entry.lane.ready > 0

    def _early(self, entry: Entry) -> bool:
        return self._wait(entry) > EARLY

    def _wait(self, entry: Entry) -> float:
        """Seconds until it is due."""
        due = entry.past.due if entry.past.due is not None else entry.call.not_before
        return 0.0 if due is None else due - self._context.clock()

    async def _look_into(self, entry: Entry, again: bool) -> None:
        try:
            if again and await self._ask(entry):
                return
            wait = self._wait(entry)
            if wait > EARLY:
                self._send_back(entry, wait, entry.past)
                return
            if entry.stored:
                body = await self._bodies.fetch(entry.id, rows.read_stored(entry.stored))
                entry.call = msgspec.structs.replace(entry.call, body=body)
                entry.file = body.path if isinstance(body, Spooled) else ""
        except QueueUnavailable as error:
            log.warning("call %s cannot be looked into: %s", entry.id, error)
            self._send_back(entry, AGAIN, None)
            return
        if entry.phase is not Phase.COMING:
            self._bodies.drop_file(entry.file)
            return
        entry.arrived_at = trio.current_time()
        self.lanes.arrived(entry)

    def _send_back(self, entry: Entry, wait: float, past: Past | None) -> None:
        """The broker is to give it out again later."""
        self.settler.let_go(entry)
        if past is None:
            entry.source.unacked.pop(entry.seq, None)
        else:
            entry.source.remember(entry, msgspec.structs.replace(past, count=entry.count))
        self.settler.say(entry.reply, nak(wait))

    async def _ask(self, entry: Entry) -> bool:
        """Whether it is over; what stands behind it waits meanwhile."""
        try:
            return await self._is_over(entry)
        finally:
            entry.lane.coming.remove(entry)
            self.lanes.wake(entry.lane)

    async def _is_over(self, entry: Entry) -> bool:
        """What became of it before; whether it was settled already, and only the last word was lost."""
        finished = await self._stored_calls.finished(entry.id)
        if finished is not None and finished.record.state in OVER:
            self.settler.let_go(entry)
            entry.source.unacked.pop(entry.seq, None)
            self.settler.say(entry.reply, ACK)
            self._not_ready(entry)
            return True
        note = await self.settler.outbox.find(entry.id, entry.seq)
        if note is not None:
            self._not_ready(entry)
            self.settler.end_by(entry, note)
            return True
        row = await self._stored_calls.tried(entry.id)
        begun = await self._journal.begun(entry.seq, fresh=True)
        record = None if row is None else row.record
        known = record.attempts if record else 0
        past = Past(
            max(begun, known), record.history if record else (), row.outcome if row else None,
            record.reason if record else "", record.due_at if record else None, record.started_at if record else None,
            row=row is not None, crashed=begun > known, count=entry.count,
        )  # fmt: skip
        self._take_past(entry, past)
        return False

    def ended(self, source: Source) -> None:
        """See `source.Listener.ended`."""
        lane = self.lanes.named.get(source.lane)
        if lane is not None:
            lane.window = max(2, lane.window // 2)
            lane.hungry = bool(lane.lot)
            lane.fill(trio.current_time())

    def gone(self, source: Source) -> None:
        """See `source.Listener.gone`."""
        self._nursery.start_soon(self.lanes.remake, source)
