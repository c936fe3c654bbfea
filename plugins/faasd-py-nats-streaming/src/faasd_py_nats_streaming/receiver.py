"""Messages from the channels become calls in our hands. Called in the task that reads the connection: it never waits.

seen before, and held      nothing: one ack when it is done
seen before, and over      acknowledged again
published twice            acknowledged: the other one runs
refused when it was put    acknowledged
unreadable                 a dead letter, then acknowledged
else                       READY, or DELAYED until it is due
"""

from __future__ import annotations

import logging
from typing import Final

from faasd_py_nats_streaming.entry import Entry, Phase
from faasd_py_nats_streaming.envelope import DeadLetter, Envelope, encode_dead
from faasd_py_nats_streaming.formats import Unreadable
from faasd_py_nats_streaming.identity import foreign
from faasd_py_nats_streaming.intake import Intake
from faasd_py_nats_streaming.journal import Place
from faasd_py_nats_streaming.parts import Parts
from faasd_py_nats_streaming.proto import MsgProto
from faasd_py_nats_streaming.publishing import token

log: Final = logging.getLogger("faasd_py_nats_streaming")


class Receiver:
    """`receive` is given to the channels."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._burying: set[Place] = set()

    def receive(self, intake: Intake, message: MsgProto) -> None:
        """One delivery."""
        parts, sequence, timestamp = self._parts, message.sequence, message.timestamp
        place = intake.name, sequence, timestamp
        if self._is_held(intake, sequence, timestamp) or place in self._burying:
            return
        if place in parts.journal.over:
            intake.channel.ack(sequence)
            return
        data = message.data
        intake.note(sequence, len(data), redelivered=message.redelivered, now=parts.session.now())
        try:
            envelope = parts.format.decode(data, intake.name, sequence, timestamp)
        except Unreadable as error:
            self._burying.add(place)
            parts.nursery.start_soon(self._bury, intake, place, data, str(error))
            return
        guid = token(envelope)
        parts.session.confirm(guid)
        if parts.held.knows(envelope.id, envelope.hop, guid) or envelope.id in parts.journal.disowned:
            log.info("call %s came twice, or was refused: it is not run", envelope.id)
            intake.channel.ack(sequence)
            return
        if envelope.hop and (older := parts.held.older(envelope.id)) is not None:
            older.lane.delayed -= older.phase is Phase.DELAYED
            parts.counters.finished(older)
            parts.over(older)
        self._hold(intake, message, envelope, guid)

    def _is_held(self, intake: Intake, sequence: int, timestamp: int) -> bool:
        held = intake.held.get(sequence)
        if held is None:
            return False
        if held.timestamp == timestamp:
            return True
        log.error("the server has begun %s anew: what we hold of it still runs", intake.name)
        intake.held.clear()
        intake.missing.clear()
        intake.last = 0
        return False

    def _hold(self, intake: Intake, message: MsgProto, envelope: Envelope, guid: str) -> None:
        parts, call = self._parts, envelope.call
        if envelope.spooled:
            call = parts.shelf.store(guid, call)
        lane = parts.counters.lanes.get(call.lane)
        entry = Entry(
            envelope.id,
            call,
            lane,
            intake,
            message.sequence,
            message.timestamp,
            envelope.hop,
            envelope.spooled,
        )
        entry.mark = intake.bytes
        parts.counters.came(envelope, entry)
        intake.held[message.sequence] = entry
        parts.held.add(entry)
        due = self._recall(entry, envelope, message)
        if due is None:
            parts.ready(entry)
        else:
            parts.delay(entry, due)

    def _recall(self, entry: Entry, envelope: Envelope, message: MsgProto) -> float | None:
        """What is known of attempts that began before: by our journal, else by how often it was delivered.

        Returns when it is due. Our journal tells all when nobody else is in the group; without it, each delivery that
        was not acknowledged may have been an attempt that killed its daemon.
        """
        journal, options = self._parts.journal, self._parts.options
        entry.attempts, entry.crashed = envelope.attempts, envelope.crashed
        known = journal.known.pop(entry.key, None)
        if known is not None:
            entry.attempts, entry.crashed = known.attempts, known.running
            return known.due
        if message.redelivered and (journal.fresh or options.shared):
            entry.attempts += 1 if options.shared else max(1, message.redeliveryCount)
            entry.crashed = True
        return envelope.due

    async def _bury(self, intake: Intake, place: Place, data: bytes, reason: str) -> None:
        """Keep what cannot be read for a person, so that it blocks nobody."""
        parts = self._parts
        identity = foreign(*place)
        log.error("%s: message %d is buried: %s", intake.name, place[1], reason)
        letter = DeadLetter(
            id=identity,
            call=None,
            attempts=0,
            reason="unreadable",
            outcome=None,
            died_at=parts.clock(),
            raw=data,
        )
        await parts.publishing.surely(parts.options.dead_subject, f"{identity}.dead", encode_dead(letter))
        parts.journal.remember(place)
        intake.channel.ack(place[1])
        self._burying.discard(place)
