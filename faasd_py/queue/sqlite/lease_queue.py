"""The loop's side of put → lease → start → settle: jobs to the commit thread, and what they bring back."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import msgspec
import trio

from faasd_py.config import QueueSettings
from faasd_py.core.call import Call, Lease, Spooled
from faasd_py.core.errors import IllegalMove, QueueFull, QueueUnavailable
from faasd_py.core.lifecycle import Move, State, after
from faasd_py.core.outcome import CRASHED as HOLDER_DIED
from faasd_py.core.outcome import Outcome, Verdict
from faasd_py.queue import rank
from faasd_py.queue.contract import Accepted
from faasd_py.queue.entry import Entry, Phase
from faasd_py.queue.keys import Keys
from faasd_py.queue.spool import BodyStore
from faasd_py.queue.sqlite import rows, windows
from faasd_py.queue.sqlite.committer import Committer
from faasd_py.queue.sqlite.jobs import Ask, Batch, Put, Settle, Start, Together
from faasd_py.queue.sqlite.lane import SqliteLane
from faasd_py.queue.sqlite.schema import ANSWER_APART, CRASHED, SPOOLED
from faasd_py.queue.sqlite.windows import Windows


class LeaseQueue(Windows):
    """What a worker and the gateway need of the queue."""

    def __init__(
        self,
        settings: QueueSettings,
        keys: Keys,
        body_store: BodyStore,
        committer: Committer,
        clock: Callable[[], float],
        notice_due: Callable[[float], None],
        notice_surplus: Callable[[], None],
    ) -> None:
        super().__init__(settings, keys, committer.submit)
        self._body_store = body_store
        self._committer = committer
        self._clock = clock
        self._notice_due = notice_due
        self._notice_surplus = notice_surplus
        self._trouble: str | None = None
        self.next_lane = self._lanes.next_lane
        self.leave = self._lanes.leave

    async def put(self, call: Call) -> Accepted:
        """See `queue.contract.Queue.put`."""
        job = self._new(call)
        size = job.entry.size
        if self._trouble is not None:
            raise QueueUnavailable(self._trouble)
        if self._depth >= self._settings.max_depth:
            raise QueueFull(f"the queue is full: {self._depth} calls wait (max_depth)")
        if self._bytes + size > self._settings.max_bytes:
            raise QueueFull(f"the queue is full: {self._bytes} bytes wait (max_bytes)")
        self._expect(job)
        self._submit(job)
        await job.landed()
        if job.error is not None:
            raise job.error
        if job.duplicate is not None:
            return job.duplicate
        identity = job.entry.id
        return Accepted(id=identity, call_id=call.call_id or identity)

    def _expect(self, job: Put) -> None:
        """Count a call that is about to be written."""
        job.lane.pending += 1
        self._depth += 1
        self._bytes += job.entry.size
        if job.entry.fused:
            job.lane.fusing += 1

    def _new(self, call: Call) -> Put:
        """The job that keeps a call. Raises what msgspec raises for a call that is none."""
        now = self._clock()
        key = self._keys.new(now)
        lane = self._lanes.named.get(call.lane) or self._lanes.get(call.lane)
        head, body, flags = rows.pack(call)
        spooled = call.body if flags & SPOOLED and isinstance(call.body, Spooled) else None
        if spooled is not None:
            place = Spooled(path=str(self._body_store.path(key)), size=spooled.size)
            call = msgspec.structs.replace(call, body=place)
        entry = Entry(
            key, self._keys.text(key), lane, rank.of_key(call.priority, key), call, call.size, flags=flags
        )
        due = call.not_before
        if due is not None and due > now:
            job = self._later(entry, lane, head, due)
        else:
            job = self._at_once(entry, lane, head, now)
        job.body, job.spooled = body, spooled
        return job

    def _later(self, entry: Entry, lane: SqliteLane, head: bytes, due: float) -> Put:
        entry.rank = rank.of_time(entry.call.priority, due, entry.key)
        state = after(None, Move.PUT_LATER)
        row = (
            entry.key, lane.id, int(state), entry.rank, rank.milliseconds(due), 0, entry.flags, entry.size,
            entry.call.call_id, head, None,
        )  # fmt: skip
        return Put(entry, lane, row, due)

    def _at_once(self, entry: Entry, lane: SqliteLane, head: bytes, now: float) -> Put:
        """READY at once; LEASED on record already when a worker is waiting for just this one.

        Then a crash would count an attempt that may not have begun, so a call that allows one attempt, or none after a
        crash, is not written that way.
        """
        call = entry.call
        state, started = 0, None
        if (
            len(lane.lot) > lane.fusing + lane.count
            and call.on_crash
            and (call.max_attempts is None or call.max_attempts > 1)
        ):
            entry.fused = True
            entry.attempts = 0
            state, started = 1, now
        row = (
            entry.key, lane.id, state, entry.rank, None, state, entry.flags, entry.size, call.call_id, head, started,
        )  # fmt: skip
        return Put(entry, lane, row, None)

    async def wait_ready(self, lane: str) -> None:
        """See `queue.contract.Queue.wait_ready`."""
        here = self._lanes.get(lane)
        while not here.count:
            self._read_on(here)
            await here.lot.park()
            here = self._lanes.get(lane)

    def lease_nowait(self, lane: str) -> Lease | None:
        """See `queue.contract.Queue.lease_nowait`."""
        here = self._lanes.named.get(lane)
        if here is None:
            return None
        entry = self._lanes.take(here)
        if here.count < windows.LOW and not here.complete:
            self._read_on(here)
        if entry is None:
            return None
        return Lease(
            key=entry.key,
            id=entry.id,
            call=entry.call,
            attempt=entry.attempts + 1,
            crashed=entry.crashed,
            token=entry,
        )

    async def start(self, lease: Lease) -> None:
        """See `queue.contract.Queue.start`."""
        entry = _begun(lease)
        if entry.fused:
            return
        job = Start(entry, entry.lane)  # type: ignore[arg-type]
        self._submit(job)
        await job.wait()

    async def start_many(self, leases: Sequence[Lease]) -> list[Exception | None]:
        """See `queue.contract.start_many`."""
        errors: dict[int, Exception] = {}
        jobs: dict[int, Start] = {}
        together = Together(0)
        for number, lease in enumerate(leases):
            try:
                entry = _begun(lease)
            except IllegalMove as error:
                errors[number] = error
            else:
                if not entry.fused:
                    jobs[number] = Start(entry, entry.lane, together)  # type: ignore[arg-type]
        together.left = len(jobs)
        for job in jobs.values():
            self._submit(job)
        if jobs:
            await together.landed()
        else:
            await trio.lowlevel.checkpoint()
        errors |= {number: job.error for number, job in jobs.items() if job.error is not None}
        return [errors.get(number) for number in range(len(leases))]

    async def settle(
        self, lease: Lease, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        """See `queue.contract.Queue.settle`."""
        entry = _held(lease)
        after(State.LEASED, verdict.move)
        follow = None if callback is None else self._new(callback)
        if verdict.move is Move.RELEASE and follow is None and not entry.fused and entry.phase is Phase.HELD:
            self._hand_back(entry)
            return
        job = self._settlement(entry, verdict, outcome)
        job.callback = follow
        if follow is not None:
            self._expect(follow)
        self._ended(entry, job)
        self._submit(job)

    def _hand_back(self, entry: Entry) -> None:
        """A lease of which nothing is on record."""
        lane = entry.lane
        lane.leased -= 1
        lane.ready += 1
        self._lanes.arrived(lane, entry)  # type: ignore[arg-type]

    def _settlement(self, entry: Entry, verdict: Verdict, outcome: Outcome | None) -> Settle:
        lane: SqliteLane = entry.lane  # type: ignore[assignment]
        started = entry.phase is Phase.STARTED
        was_leased = started or entry.fused
        entry.attempts += started
        if verdict.move is Move.RELEASE:
            entry.flags &= ~CRASHED
            if started and verdict == HOLDER_DIED:
                entry.flags |= CRASHED
            job = Settle(entry, lane, verdict.move, (entry.attempts, entry.flags, entry.key))
            job.kept = entry.kept
        else:
            job = self._ending(entry, lane, verdict, outcome)
        job.was_leased = was_leased
        return job

    def _ending(self, entry: Entry, lane: SqliteLane, verdict: Verdict, outcome: Outcome | None) -> Settle:
        now, settings = self._clock(), self._settings
        status, blob, apart, line = None, None, None, None
        flags = entry.flags & ~(CRASHED | ANSWER_APART)
        if outcome is not None:
            status = outcome.status
            blob = rows.pack_outcome(outcome, settings.max_result)
            line = (entry.attempts, outcome.started_at, outcome.duration, outcome.status, verdict.reason)
        elif entry.phase is Phase.STARTED:
            line = (entry.attempts, now, 0.0, 0, verdict.reason)
        history = rows.add_line(entry.history, line) if line is not None else entry.history or None
        kept = len(blob) if blob is not None else 0
        if blob is not None and kept > 2 * rows.INLINE:
            blob, apart, flags = None, blob, flags | ANSWER_APART
        state, place = after(State.LEASED, verdict.move), entry.rank
        due: float | None = None
        keep: int | None = None
        finished: float | None = now
        if verdict.move is Move.RETRY:
            due, finished = now + max(0.0, verdict.wait), None
            place = rank.of_time(entry.call.priority, due, entry.key)
        else:
            keep = int(now + self._retention(state, status))
        row = (
            int(state), place, None if due is None else rank.milliseconds(due), entry.attempts, flags, finished,
            status, verdict.reason or None, keep, kept, blob, history, entry.key,
        )  # fmt: skip
        job = Settle(entry, lane, verdict.move, row)
        job.kept, job.answer, job.due = kept, apart, due
        return job

    def _retention(self, state: State, status: int | None) -> float:
        failed = state is State.DEAD or (state is State.DONE and status is not None and status >= 400)
        return self._settings.failure_retention if failed else self._settings.result_retention

    def _ended(self, entry: Entry, job: Settle) -> None:
        """The entry leaves memory; the figures tell of it at once."""
        entry.phase = Phase.OVER
        lane = job.lane
        lane.leased -= 1
        self._near.pop(entry.key, None)
        if lane.gone is not None:
            lane.gone.add(entry.key)
        if job.move is Move.RETRY:
            lane.delayed += 1
        elif job.move is Move.RELEASE:
            lane.ready += 1
        else:
            self._depth -= 1
            self._bytes -= entry.size
            lane.dead += job.move is Move.BURY

    async def do(self, job: Ask) -> None:
        """Have a job done and wait until it has landed.

        Raises:
            FaasdError: it was not done.
        """
        self._submit(job)
        await job.wait()

    async def flush(self) -> None:
        """See `queue.contract.Queue.flush`.

        Raises:
            QueueUnavailable: what was settled cannot be recorded now; it is held and tried again.
        """
        await self.do(Ask())

    async def _settled(self) -> None:
        """As `flush`, but what cannot be recorded now is no error: the record is behind, and `trouble` says so."""
        with suppress(QueueUnavailable):
            await self.flush()

    def land(self, batch: Batch) -> None:
        """A transaction is done: bring memory up to it and wake who waited."""
        self._heed(batch)
        for put in batch.puts:
            self._put_landed(put)
            put.finish()
        for start in batch.starts:
            if start.error is not None and start.entry.phase is Phase.STARTED:
                start.entry.phase = Phase.HELD
            start.finish()
        for settle in batch.settles:
            self._settle_landed(settle)
        for ask in batch.asks:
            (ask.land if ask.error is None else ask.fail)()
            ask.finish()
        if batch.stop is not None:
            batch.stop.finish()

    def _heed(self, batch: Batch) -> None:
        was, self._trouble = self._trouble, batch.trouble
        if batch.kept > self._settings.max_results_bytes:
            self._notice_surplus()
        if was is not None and batch.trouble is None:
            for lane in self._lanes.named.values():
                if lane.lot and not lane.count:
                    self._read_on(lane)

    def _put_landed(self, put: Put) -> None:
        entry, lane = put.entry, put.lane
        lane.pending -= 1
        if entry.fused:
            lane.fusing -= 1
        if put.error is not None or put.duplicate is not None:
            self._depth -= 1
            self._bytes -= entry.size
        elif put.due is not None:
            lane.delayed += 1
            self._notice_due(put.due)
        else:
            lane.ready += 1
            self.place(entry, lane)

    def _settle_landed(self, settle: Settle) -> None:
        if settle.callback is not None:
            self._put_landed(settle.callback)
        if settle.due is not None:
            self._notice_due(settle.due)
        elif settle.move is Move.RELEASE:
            old = settle.entry
            entry = Entry(
                old.key, old.id, old.lane, old.rank, old.call, old.size, old.attempts,
                crashed=bool(old.flags & CRASHED), kept=old.kept, history=old.history, flags=old.flags,
            )  # fmt: skip
            self.place(entry, settle.lane)


def _begun(lease: Lease) -> Entry:
    """The entry of a lease whose attempt begins now. Raises IllegalMove."""
    entry = _held(lease)
    if entry.phase is not Phase.HELD:
        raise IllegalMove("cannot start a call that is started already")
    entry.phase = Phase.STARTED
    return entry


def _held(lease: Lease) -> Entry:
    entry = lease.token
    if not isinstance(entry, Entry) or not (entry.phase is Phase.HELD or entry.phase is Phase.STARTED):
        raise IllegalMove("cannot settle or start a lease that is settled already")
    return entry
