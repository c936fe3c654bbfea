"""The end of an attempt: callback, row, last word to the broker, each after the one before was confirmed.

A crash in between sends the callback again, or finds the row and settles the message by it; it never loses any of them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from faasd_py.api import (
    Attempt,
    Call,
    IllegalMove,
    Move,
    Outcome,
    QueueUnavailable,
    Spooled,
    State,
    Verdict,
    after,
)
from faasd_py_jetstream import rows
from faasd_py_jetstream.bodies import Bodies
from faasd_py_jetstream.context import Context, log
from faasd_py_jetstream.delivery import ACK, nak
from faasd_py_jetstream.entry import Entry, Past, Phase
from faasd_py_jetstream.figures import Figures
from faasd_py_jetstream.identity import Ids
from faasd_py_jetstream.journal import JournalKeeper
from faasd_py_jetstream.lanes import Lanes
from faasd_py_jetstream.names import bucket, place, turned
from faasd_py_jetstream.outbox import LARGEST, Outbox, Pair
from faasd_py_jetstream.publisher import Answer
from faasd_py_jetstream.putting import publication
from faasd_py_natsclient import NatsError

HISTORY: Final = 20
MOST_OPEN: Final = 128
"""Settlements under way, above which workers wait."""
EASE: Final = 5.0
"""Seconds that they wait at most."""
LASTING: Final = 90 * 86400
"""Seconds after which the row of a call that still waits is given up."""
Step = tuple[str, bytes, dict[str, str]]


class Settler:
    """Settles entries; `entries` has those in our hands, by id."""

    def __init__(
        self, context: Context, lanes: Lanes, journal: JournalKeeper, bodies: Bodies, figures: Figures,
        ids: Ids, entries: dict[str, Entry], nursery: trio.Nursery,
    ) -> None:  # fmt: skip
        self._context = context
        self._lanes = lanes
        self._journal = journal
        self._bodies = bodies
        self._figures = figures
        self._ids = ids
        self._entries = entries
        self._nursery = nursery
        self.outbox = Outbox(context, nursery)
        self._open: set[Chain] = set()
        self._lot = trio.lowlevel.ParkingLot()
        self._unsaid: list[tuple[str, bytes]] = []
        context.client.on_reconnected.append(self._say_all)

    async def flush(self) -> None:
        """Return when everything settled so far is done.

        Raises:
            QueueUnavailable: it cannot be done now.
        """
        await trio.lowlevel.checkpoint()
        wanted = set(self._open)
        with trio.move_on_after(self._context.options.put_timeout) as scope:
            while not wanted.isdisjoint(self._open):
                await self._lot.park()
        if scope.cancelled_caught:
            raise QueueUnavailable(self._context.publisher.reason())
        try:
            await self._context.client.flush(self._context.options.put_timeout)
        except NatsError as error:
            raise QueueUnavailable(f"the NATS server does not answer: {error}") from error

    async def ease(self) -> None:
        """Return when not too much is open: what has run, and is not on record yet, would run again after a crash.

        Cannot be cancelled: the settlement before it stands.
        """
        await trio.lowlevel.cancel_shielded_checkpoint()
        if len(self._open) > MOST_OPEN:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + EASE):
                while len(self._open) > MOST_OPEN:
                    await self._lot.park()

    # one settlement

    def settle(self, entry: Entry, verdict: Verdict, outcome: Outcome | None, callback: Call | None) -> None:
        """Decide everything now; the rest follows by itself.

        Raises:
            IllegalMove: the verdict does not lead out of LEASED, or the entry is not leased.
        """
        if entry.phase not in {Phase.HELD, Phase.STARTED}:
            raise IllegalMove("cannot settle a lease that is settled already")
        state = after(State.LEASED, verdict.move)
        started = entry.phase is Phase.STARTED
        self._figures.moved()
        self._note(entry, verdict, outcome, started=started)
        entry.state, entry.phase = state, Phase.SETTLING
        entry.lane.leased -= entry.lane.leased > 0
        entry.lane.mine -= 1
        rest = self._ending(entry, verdict, started=started)
        self._open.add(rest)
        if callback is None:
            self._go(rest, entry)
        else:
            self._call_back(callback, rest, entry)

    def _note(self, entry: Entry, verdict: Verdict, outcome: Outcome | None, *, started: bool) -> None:
        """What is stored of it."""
        if verdict.move is Move.RELEASE:
            return
        now = self._context.clock()
        began, duration, status = now, 0.0, 0
        entry.status, entry.reason, entry.outcome = None, verdict.reason, self._kept(outcome)
        if outcome is not None:
            began, duration, status = outcome.started_at, outcome.duration, outcome.status
            entry.status = status
        if outcome is not None or started:
            line = Attempt(
                number=entry.attempts,
                started_at=began,
                duration=duration,
                status=status,
                reason=verdict.reason,
            )
            entry.history = (*entry.history, line)[-HISTORY:]

    def _kept(self, outcome: Outcome | None) -> Outcome | None:
        """As much of an outcome as is kept."""
        if outcome is None:
            return None
        body = outcome.body
        limit = min(self._context.settings.max_result, self._context.client.max_payload // 2)
        if isinstance(body, Spooled) or len(body) > limit:
            size = outcome.size or (body.size if isinstance(body, Spooled) else len(body))
            return msgspec.structs.replace(outcome, body=b"", complete=False, size=size)
        return outcome

    def _ending(self, entry: Entry, verdict: Verdict, *, started: bool) -> Chain:
        """The steps after the callback, and the last word."""
        if verdict.move is Move.RELEASE:
            entry.lane.ready += 1
            entry.past = self._past(entry) if started else self.past_of(entry)
            steps = [self._state_row(entry)] if started else []
            return Chain(self, steps, lambda: self._back(entry))
        if verdict.move is Move.RETRY:
            wait = max(0.0, verdict.wait)
            entry.lane.delayed += 1
            entry.due = self._context.clock() + wait
            entry.past = self._past(entry)
            return Chain(self, [self._state_row(entry)], lambda: self._again(entry, wait))
        entry.finished_at = self._context.clock()
        self._figures.take(entry.size)
        steps = [self._results_row(entry)]
        if verdict.move is Move.BURY:
            entry.lane.dead += 1
            steps.insert(0, self._dead_letter(entry))
        return Chain(self, steps, lambda: self._over(entry))

    def past_of(self, entry: Entry) -> Past:
        """What is to be remembered of an entry that goes back as it is."""
        return msgspec.structs.replace(entry.past, count=entry.count)

    def _past(self, entry: Entry) -> Past:
        return Past(
            entry.attempts, entry.history, entry.outcome, entry.reason, entry.due, entry.started_at,
            row=True, count=entry.count,
        )  # fmt: skip

    # what is written

    def _state_row(self, entry: Entry) -> Step:
        row = rows.encode(rows.Row(entry.record(), entry.outcome))
        return self._context.names.state_row(entry.id), row, {"Nats-TTL": f"{LASTING}s"}

    def _results_row(self, entry: Entry) -> Step:
        row = rows.encode(rows.Row(entry.record(), entry.outcome))
        return self.results_subject(entry), row, {"Nats-TTL": f"{max(1, int(self._retention(entry)))}s"}

    def results_subject(self, entry: Entry) -> str:
        """Where the row of a finished call is."""
        call = entry.call
        return self._context.names.results_row(place(call.lane, call.priority, call.call_id, entry.id))

    def _retention(self, entry: Entry) -> float:
        settings = self._context.settings
        failed = entry.state is State.DEAD or (entry.state is State.DONE and (entry.status or 0) >= 400)
        return settings.failure_retention if failed else settings.result_retention

    def _dead_letter(self, entry: Entry) -> Step:
        call = entry.call
        subject = f"{self._context.names.root}.dead.{place(call.lane, call.priority, call.call_id, entry.id)}"
        headers = {
            "Nats-TTL": f"{max(1, int(self._context.settings.failure_retention))}s",
            rows.ROW: rows.row_header(entry.record()),
            "Nats-Msg-Id": f"{entry.id}-{entry.seq}",
        }
        if entry.stored:
            headers[rows.BODY] = entry.stored
            call = msgspec.structs.replace(call, body=b"")
        return subject, rows.encode(call), headers

    # callbacks

    def _call_back(self, callback: Call, rest: Chain, entry: Entry) -> None:
        """Put the callback, then the rest."""
        key = self._ids.new(self._context.clock())
        source = self._lanes.source(callback.lane, turned(callback.priority))
        if source.usable and not self._bodies.large(callback.body, callback.size):
            self._put_callback(callback, self._ids.text(key), "", rest, entry)
        else:
            self._nursery.start_soon(self._prepare, callback, self._ids.text(key), rest, entry)

    def _put_callback(self, callback: Call, identity: str, stored: str, rest: Chain, entry: Entry) -> None:
        post = publication(self._context, identity, callback, stored)
        lane = self._lanes.get(callback.lane)
        lane.delayed += post.later
        lane.ready += not post.later
        self._figures.add(callback.size)
        note = self.outbox.note_of(entry.id, entry.seq)
        self.outbox.add(Pair(post, note, self._note_row(entry), lambda: self._go(rest, entry)))

    @staticmethod
    def _note_row(entry: Entry) -> bytes:
        outcome = entry.outcome
        if outcome is not None and len(outcome.body) > LARGEST:  # type: ignore[arg-type]
            outcome = msgspec.structs.replace(outcome, body=b"", complete=False)
        return rows.encode(rows.Row(entry.record(), outcome))

    async def _prepare(self, callback: Call, identity: str, rest: Chain, entry: Entry) -> None:
        """Make the lane's consumer and store a large body first, for as long as it takes."""
        while True:
            try:
                await self._lanes.usable(callback.lane, callback.priority)
                stored = ""
                if self._bodies.large(callback.body, callback.size):
                    stored = (await self._bodies.upload(identity, callback.body)).header()
            except QueueUnavailable as error:
                log.warning("the callback of %s waits: %s", entry.id, error)
                await trio.sleep(min(error.retry_after, 1.0))
            else:
                break
        if isinstance(callback.body, Spooled):
            self._bodies.drop_file(callback.body.path)
        self._put_callback(callback, identity, stored, rest, entry)

    # how it goes on

    def _go(self, chain: Chain, entry: Entry) -> None:
        chain.identity = entry.id
        self._open.add(chain)
        chain.next(None)

    def step(self, step: Step, done: Callable[[Answer], None]) -> None:
        """Write one thing, however long it takes."""
        subject, data, headers = step
        self._context.publisher.send(subject, data, headers, done)

    def closed(self, chain: Chain) -> None:
        """A chain came to its end."""
        self._open.discard(chain)
        if self._lot:
            self._lot.unpark_all()

    def _back(self, entry: Entry) -> None:
        """Handed back: it is at hand again, at its place."""
        self._journal.ended(entry)
        entry.arrived_at = trio.current_time()
        entry.count = entry.past.count
        self._lanes.arrived(entry)

    def _again(self, entry: Entry, wait: float) -> None:
        """The broker gives it out again when it is due."""
        self._journal.ended(entry)
        self.let_go(entry)
        entry.source.remember(entry, entry.past)
        left = 0.0 if entry.due is None else entry.due - self._context.clock()
        self.say(entry.reply, nak(min(wait, max(0.0, left))))

    def _over(self, entry: Entry) -> None:
        """The message is no longer needed."""
        self._journal.ended(entry)
        had_row = entry.past.row
        self.let_go(entry)
        entry.source.unacked.pop(entry.seq, None)
        self.say(entry.reply, ACK)
        if entry.state is not State.DEAD:
            self._bodies.remove(entry.id, entry.stored)
        if had_row:
            self.drop_row(entry.id)

    def let_go(self, entry: Entry) -> None:
        """It is in our hands no more."""
        entry.phase = Phase.OVER
        self._entries.pop(entry.id, None)
        self._bodies.drop_file(entry.file)
        entry.file = ""

    def drop_row(self, identity: str) -> None:
        """The row of a waiting call is no longer needed."""
        names = self._context.names
        try:
            self._context.api.tell(
                f"STREAM.PURGE.{bucket(names.state)}", {"filter": names.state_row(identity)}
            )
        except NatsError:
            return

    def say(self, reply: str, word: bytes) -> None:
        """The last word about a message; without a connection, as soon as there is one."""
        try:
            self._context.client.publish(reply, word)
        except NatsError:
            self._unsaid.append((reply, word))

    def _say_all(self) -> None:
        unsaid, self._unsaid = self._unsaid, []
        for reply, word in unsaid:
            self.say(reply, word)

    def end_by(self, entry: Entry, row: rows.Row) -> None:
        """End a call as a note says that it ended."""
        record = row.record
        entry.state, entry.reason, entry.status, entry.history = (
            record.state, record.reason, record.status, record.history
        )  # fmt: skip
        entry.attempts, entry.started_at, entry.finished_at = (
            record.attempts,
            record.started_at,
            record.finished_at,
        )
        entry.outcome, entry.phase = row.outcome, Phase.SETTLING
        steps = [self._results_row(entry)]
        if entry.state is State.DEAD:
            steps.insert(0, self._dead_letter(entry))
        self._go(Chain(self, steps, lambda: self._over(entry)), entry)

    def cancelled(self, entry: Entry) -> None:
        """An entry that was withdrawn from those at hand ends as CANCELLED."""
        entry.state, entry.reason, entry.phase = State.CANCELLED, "cancelled", Phase.SETTLING
        entry.finished_at, entry.due = self._context.clock(), None
        self._go(Chain(self, [self._results_row(entry)], lambda: self._over(entry)), entry)

    def removed(self, entry: Entry) -> None:
        """An entry that was withdrawn from those at hand is forgotten."""
        self._go(Chain(self, [], lambda: self._over(entry)), entry)


class Chain:
    """Steps that are confirmed one after the other, then the last word."""

    __slots__ = ("_finish", "_settler", "identity", "steps")

    def __init__(self, settler: Settler, steps: list[Step], finish: Callable[[], None]) -> None:
        self._settler = settler
        self._finish = finish
        self.steps = deque(steps)
        self.identity = ""

    def next(self, answer: Answer | None) -> None:
        """The step before was confirmed, or (closing) will not be: then the broker gives the call to another."""
        if isinstance(answer, QueueUnavailable):
            log.warning("the end of %s is not on record: %s", self.identity, answer)
        elif self.steps:
            self._settler.step(self.steps.popleft(), self.next)
            return
        else:
            self._finish()
        self._settler.closed(self)
