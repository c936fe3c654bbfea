"""What workers do: lease, start, settle. A settlement is fixed at once; what follows from it is published behind it."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import msgspec
import trio

from faasd_py.api import (
    Call,
    IllegalMove,
    Lease,
    Move,
    Outcome,
    QueueUnavailable,
    Spooled,
    State,
    Verdict,
    after,
)
from faasd_py_nats_streaming import bodies
from faasd_py_nats_streaming.entry import Entry, Phase
from faasd_py_nats_streaming.envelope import DeadLetter, Envelope, encode, encode_dead
from faasd_py_nats_streaming.parts import Parts
from faasd_py_nats_streaming.putting import Putting

log: Final = logging.getLogger("faasd_py_nats_streaming")


class Work:
    """The path from the lane to the ack."""

    def __init__(self, parts: Parts, putting: Putting) -> None:
        self._parts = parts
        self._putting = putting
        self._keys = itertools.count(1)
        self._closings: dict[int, None] = {}
        self._numbers = itertools.count(1)
        self._closed = trio.lowlevel.ParkingLot()

    def lease_nowait(self, lane: str) -> Lease | None:
        """See `faasd_py.api.Queue.lease_nowait`."""
        lanes = self._parts.counters.lanes
        here = lanes.named.get(lane)
        entry = None if here is None else lanes.take(here)
        if entry is None:
            return None
        entry.lease = lease = Lease(
            key=next(self._keys),
            id=entry.id,
            call=entry.call,
            attempt=entry.attempts + 1,
            crashed=entry.crashed,
            token=entry,
        )
        return lease

    async def start(self, lease: Lease) -> None:
        """See `faasd_py.api.Queue.start`."""
        entry = self._held(lease)
        if entry.phase is not Phase.HELD:
            raise IllegalMove("cannot start a call that is started already")
        try:
            self._parts.journal.started(entry.key, entry.attempts + 1)
        except OSError as error:
            self._parts.damage = f"the journal cannot be written: {error.strerror}"
            raise QueueUnavailable(self._parts.damage) from None
        self._parts.damage = ""
        entry.phase = Phase.STARTED
        entry.attempts += 1
        await trio.lowlevel.checkpoint()

    @staticmethod
    def _held(lease: Lease) -> Entry:
        entry = lease.token
        if not isinstance(entry, Entry) or entry.lease is not lease:
            raise IllegalMove("cannot settle or start a lease that is settled already")
        return entry

    async def settle(
        self, lease: Lease, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        """See `faasd_py.api.Queue.settle`."""
        entry = self._held(lease)
        state = after(State.LEASED, verdict.move)
        entry.lease = None
        entry.lane.leased -= 1
        if state is State.READY:
            self._release(entry)
        elif state is State.DELAYED:
            self._retry(entry, max(0.0, verdict.wait))
        elif callback is None and verdict.move is not Move.BURY:
            self._parts.counters.finished(entry)
            self._parts.over(entry)
        else:
            self._close(entry, verdict, outcome, callback)
        await trio.lowlevel.checkpoint()

    def _release(self, entry: Entry) -> None:
        started = entry.phase is Phase.STARTED
        if started:
            entry.crashed = False
            self._note_wait(entry)
        self._parts.ready(entry)

    def _retry(self, entry: Entry, wait: float) -> None:
        """In place while it is short; else published again, so that it does not take up a place among the others."""
        parts = self._parts
        entry.crashed = False
        if wait > parts.options.hold:
            self.move(entry, parts.clock() + wait)
            return
        entry.due = parts.clock() + wait
        self._note_wait(entry)
        parts.delay(entry, entry.due)

    def _note_wait(self, entry: Entry) -> None:
        try:
            self._parts.journal.waits(entry.key, entry.attempts, entry.due)
        except OSError as error:
            log.warning("a crash now would count an attempt too many: %s", error.strerror)

    # what is published before the ack

    def move(self, entry: Entry, due: float | None) -> None:
        """Publish the call anew, to be given out at `due`, and acknowledge this one."""
        self._begin_closing(entry, partial(self._move, entry, due))

    async def _move(self, entry: Entry, due: float | None) -> None:
        parts = self._parts
        envelope = Envelope(
            id=entry.id, call=await bodies.in_memory(entry.call), hop=entry.hop + 1, attempts=entry.attempts,
            crashed=entry.crashed, due=due, spooled=entry.spooled,
        )  # fmt: skip
        if await parts.publishing.again(parts.options.later_subject, envelope, encode(envelope)):
            self._parts.over(entry)
        else:
            parts.counters.resumed(entry)
            parts.delay(entry, due or 0.0)

    def _close(self, entry: Entry, verdict: Verdict, outcome: Outcome | None, callback: Call | None) -> None:
        self._begin_closing(entry, partial(self._end, entry, verdict, outcome, callback))

    async def _end(
        self, entry: Entry, verdict: Verdict, outcome: Outcome | None, callback: Call | None
    ) -> None:
        if callback is not None:
            await self._send_callback(callback)
        if verdict.move is Move.BURY:
            await self._bury(entry, verdict, outcome)
        self._parts.over(entry)

    async def _send_callback(self, callback: Call) -> None:
        """One whose answer is too large for a message says so, without the answer."""
        parts, identity = self._parts, self._putting.new_id()
        subject = parts.options.callbacks_subject
        try:
            envelope = await self._putting.envelope(identity, callback)
        except QueueUnavailable as error:
            log.error("a callback goes out without its body: %s", error)  # noqa: TRY400 - one sentence
            envelope = await self._putting.envelope(identity, _bare(callback))
        if not await parts.publishing.again(subject, envelope, encode(envelope)):
            envelope = await self._putting.envelope(self._putting.new_id(), _bare(callback))
            await parts.publishing.again(subject, envelope, encode(envelope))
        bodies.remove(callback.body)

    async def _bury(self, entry: Entry, verdict: Verdict, outcome: Outcome | None) -> None:
        """The letter, without the answer if both are too large, without the request's body if that is still too large."""
        parts, call = self._parts, await bodies.in_memory(entry.call)
        if outcome is not None and isinstance(outcome.body, Spooled):
            outcome = msgspec.structs.replace(outcome, body=b"", complete=False)
        bare = None if outcome is None else msgspec.structs.replace(outcome, body=b"", complete=False)
        for request, answer in (
            (call, outcome),
            (call, bare),
            (msgspec.structs.replace(call, body=b""), bare),
        ):
            letter = DeadLetter(
                id=entry.id, call=request, attempts=entry.attempts, reason=verdict.reason, outcome=answer,
                died_at=parts.clock(),
            )  # fmt: skip
            guid = f"{entry.id}.{entry.hop}.dead"
            if await parts.publishing.surely(parts.options.dead_subject, guid, encode_dead(letter)):
                return

    def _begin_closing(self, entry: Entry, close: Callable[[], Awaitable[None]]) -> None:
        self._parts.counters.finished(entry)
        entry.phase = Phase.CLOSING
        number = next(self._numbers)
        self._closings[number] = None
        self._parts.nursery.start_soon(self._run_closing, number, close)

    async def _run_closing(self, number: int, close: Callable[[], Awaitable[None]]) -> None:
        try:
            await close()
        finally:
            del self._closings[number]
            self._closed.unpark_all()

    async def closed(self) -> None:
        """Until everything that was settled so far is published and acknowledged."""
        last = next(reversed(self._closings), 0)
        while self._closings and next(iter(self._closings)) <= last:
            await self._closed.park()


def _bare(callback: Call) -> Call:
    return msgspec.structs.replace(
        callback, body=b"", headers=callback.headers + b"X-Function-Error: answer-too-large\r\n"
    )
