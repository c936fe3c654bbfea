"""Put → lease → start → settle, and what time does to calls."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from faasd_py.config import QueueSettings
from faasd_py.core.call import Call, Lease, Spooled
from faasd_py.core.errors import IdempotencyConflict, IllegalMove, QueueFull
from faasd_py.core.identity import NODE_BITS
from faasd_py.core.lifecycle import FINAL, Move, State, after
from faasd_py.core.outcome import CRASHED, Attempt, Outcome, Verdict
from faasd_py.queue import rank
from faasd_py.queue.alarms import Alarms
from faasd_py.queue.contract import Accepted
from faasd_py.queue.entry import Entry, Phase
from faasd_py.queue.keys import Keys
from faasd_py.queue.lane import Lane
from faasd_py.queue.lanes import Lanes
from faasd_py.queue.memory.kept import Kept, Known
from faasd_py.queue.spool import BodyStore

HISTORY: Final = 20
"""Attempts that are remembered one by one; older ones only count."""
WAITS: Final = frozenset({State.READY, State.LEASED, State.DELAYED})


class LeaseQueue:
    """What a worker and the gateway need of the queue."""

    def __init__(self, settings: QueueSettings, body_store: BodyStore, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._body_store = body_store
        self._clock = clock
        self._keys = Keys(secrets.randbits(NODE_BITS))
        self._lanes: Lanes[Lane] = Lanes(Lane)
        self._calls: dict[int, Kept] = {}
        self._by_call_id: dict[str, list[int]] = {}
        self._known: dict[tuple[str, str], Known] = {}
        self._due: Alarms = Alarms()
        self._forget: Alarms = Alarms()
        self._results: dict[int, int] = {}
        self._results_bytes = 0
        self._depth = 0
        self._bytes = 0
        self._changed = trio.Event()
        self.next_lane = self._lanes.next_lane
        self.leave = self._lanes.leave

    async def put(self, call: Call) -> Accepted:
        """See `queue.contract.Queue.put`."""
        await trio.lowlevel.checkpoint()
        if self._depth >= self._settings.max_depth:
            raise QueueFull(f"the queue is full: {self._depth} calls wait (max_depth)")
        if self._bytes + call.size > self._settings.max_bytes:
            raise QueueFull(f"the queue is full: {self._bytes} bytes wait (max_bytes)")
        known = self._recall(call)
        if known is not None:
            return known
        entry = self._keep(call)
        receipt = Accepted(id=entry.id, call_id=call.call_id or entry.id)
        if call.idempotency_key is not None:
            until = self._clock() + self._settings.idempotency_window
            self._known[call.lane, call.idempotency_key] = Known(receipt, call.fingerprint, until)
        return receipt

    def _recall(self, call: Call) -> Accepted | None:
        """The first call's receipt, if the idempotency key was used within the window."""
        if call.idempotency_key is None:
            return None
        known = self._known.get((call.lane, call.idempotency_key))
        if known is None or known.until <= self._clock():
            return None
        if known.fingerprint != call.fingerprint:
            raise IdempotencyConflict("this Idempotency-Key was used with a different request")
        return msgspec.structs.replace(known.receipt, duplicate=True)

    def _keep(self, call: Call) -> Entry:
        now = self._clock()
        key = self._keys.new(now)
        if isinstance(call.body, Spooled):
            call = msgspec.structs.replace(call, body=self._body_store.take(call.body, key))
        lane = self._lanes.get(call.lane)
        entry = Entry(key, self._keys.text(key), lane, rank.of_key(call.priority, key), call, call.size)
        later = call.not_before is not None and call.not_before > now
        kept = Kept(entry, after(None, Move.PUT_LATER if later else Move.PUT), call)
        self._calls[key] = kept
        if call.call_id is not None:
            self._by_call_id.setdefault(call.call_id, []).append(key)
        self._depth += 1
        self._bytes += entry.size
        if later and call.not_before is not None:
            self._delay(kept, call.not_before)
        else:
            self._ready(kept)
        return entry

    def _ready(self, kept: Kept) -> None:
        kept.entry.lane.ready += 1
        kept.due = None
        self._lanes.arrived(kept.entry.lane, kept.entry)

    def _delay(self, kept: Kept, due: float) -> None:
        entry = kept.entry
        kept.due = due
        entry.lane.delayed += 1
        entry.rank = rank.of_time(entry.call.priority, due, entry.key)
        if self._due.set(due, entry.key):
            self._changed.set()

    async def wait_ready(self, lane: str) -> None:
        """See `queue.contract.Queue.wait_ready`."""
        while not self._lanes.get(lane).count:
            await self._lanes.get(lane).lot.park()

    def lease_nowait(self, lane: str) -> Lease | None:
        """See `queue.contract.Queue.lease_nowait`."""
        here = self._lanes.named.get(lane)
        entry = None if here is None else self._lanes.take(here)
        if entry is None:
            return None
        kept = self._calls[entry.key]
        kept.state = after(kept.state, Move.LEASE)
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
        kept = self._held(lease)
        if kept.entry.phase is not Phase.HELD:
            raise IllegalMove("cannot start a call that is started already")
        kept.entry.phase = Phase.STARTED
        kept.entry.attempts += 1
        kept.started = self._clock()
        await trio.lowlevel.checkpoint()

    def _held(self, lease: Lease) -> Kept:
        entry = lease.token
        if not isinstance(entry, Entry) or entry.phase not in {Phase.HELD, Phase.STARTED}:
            raise IllegalMove("cannot settle or start a lease that is settled already")
        return self._calls[entry.key]

    async def settle(
        self, lease: Lease, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        """See `queue.contract.Queue.settle`."""
        kept = self._held(lease)
        state = after(kept.state, verdict.move)
        if callback is not None:
            self._keep(callback)
        if verdict.move is not Move.RELEASE:
            self._record(kept, verdict, outcome)
        crashed = verdict == CRASHED and kept.entry.phase is Phase.STARTED
        kept.entry.phase = Phase.OVER
        kept.entry.lane.leased -= 1
        kept.entry = msgspec.structs.replace(kept.entry, phase=Phase.ELSEWHERE, crashed=crashed)
        kept.state = state
        if state is State.READY:
            self._ready(kept)
        elif state is State.DELAYED:
            self._delay(kept, self._clock() + max(0.0, verdict.wait))
        else:
            self._finish(kept, state)
        await trio.lowlevel.checkpoint()

    def _record(self, kept: Kept, verdict: Verdict, outcome: Outcome | None) -> None:
        entry = kept.entry
        kept.reason = verdict.reason
        began, duration, status = self._clock(), 0.0, 0
        kept.status = None
        if outcome is not None:
            began, duration, kept.status = outcome.started_at, outcome.duration, outcome.status
            status = outcome.status
        self._keep_result(kept, outcome)
        if outcome is not None or entry.phase is Phase.STARTED:
            line = Attempt(
                number=entry.attempts,
                started_at=began,
                duration=duration,
                status=status,
                reason=verdict.reason,
            )
            kept.history = (*kept.history, line)[-HISTORY:]

    def _keep_result(self, kept: Kept, outcome: Outcome | None) -> None:
        key = kept.entry.key
        self._results_bytes -= self._results.pop(key, 0)
        kept.outcome = outcome
        if outcome is None:
            return
        body = outcome.body
        if isinstance(body, Spooled) or len(body) > self._settings.max_result:
            size = outcome.size or (body.size if isinstance(body, Spooled) else len(body))
            kept.outcome = outcome = msgspec.structs.replace(outcome, body=b"", complete=False, size=size)
        assert isinstance(outcome.body, bytes)  # noqa: S101 - a spooled one was just left out
        self._results[key] = size = len(outcome.body) + len(outcome.headers)
        self._results_bytes += size

    def _finish(self, kept: Kept, state: State) -> None:
        """The call waits no longer; it is remembered for a while."""
        entry, settings, now = kept.entry, self._settings, self._clock()
        kept.finished = now
        self._depth -= 1
        self._bytes -= entry.size
        failed = state is State.DEAD or (state is State.DONE and (kept.status or 0) >= 400)
        kept.keep = now + (settings.failure_retention if failed else settings.result_retention)
        self._forget.set(kept.keep, entry.key)
        if state is State.DEAD:
            entry.lane.dead += 1
        else:
            self._drop_body(kept)
        while self._results_bytes > settings.max_results_bytes:
            self._drop_oldest_result()

    def _drop_body(self, kept: Kept) -> None:
        if isinstance(kept.entry.call.body, Spooled):
            self._body_store.remove(kept.entry.key)
            kept.request = None

    def _drop_oldest_result(self) -> None:
        """Of a waiting or dead call only the answer goes, of a finished one the whole record."""
        key = next(iter(self._results))
        kept = self._calls[key]
        if kept.state in FINAL:
            self._remove(kept)
        else:
            self._results_bytes -= self._results.pop(key)
            kept.outcome = None

    def _remove(self, kept: Kept) -> None:
        """Forget a call that no worker holds."""
        key, entry = kept.entry.key, kept.entry
        self._left(kept)
        self._drop_body(kept)
        del self._calls[key]
        self._results_bytes -= self._results.pop(key, 0)
        if (call_id := entry.call.call_id) is not None:
            self._by_call_id[call_id].remove(key)
            if not self._by_call_id[call_id]:
                del self._by_call_id[call_id]

    def _left(self, kept: Kept) -> None:
        """Take a call that no worker holds out of where it stands."""
        entry, lane = kept.entry, kept.entry.lane
        if kept.state is State.READY:
            lane.withdraw(entry)
            lane.ready -= 1
        lane.delayed -= kept.state is State.DELAYED
        lane.dead -= kept.state is State.DEAD
        if kept.state in WAITS:
            self._depth -= 1
            self._bytes -= entry.size

    async def flush(self) -> None:
        """See `queue.contract.Queue.flush`."""
        await trio.lowlevel.checkpoint()

    async def watch_clock(self) -> None:
        """Bring what is due, and forget what is kept no longer; until cancelled."""
        while True:
            now = self._clock()
            for key in self._due.passed(now):
                kept = self._calls.get(key)
                if (
                    kept is not None
                    and kept.state is State.DELAYED
                    and kept.due is not None
                    and kept.due <= now
                ):
                    kept.entry.lane.delayed -= 1
                    kept.state = after(kept.state, Move.DUE)
                    self._ready(kept)
            self._tidy(now)
            with trio.move_on_after(self._due.pause(now)):
                await self._changed.wait()
            self._changed = trio.Event()

    def _tidy(self, now: float) -> None:
        for key in self._forget.passed(now):
            kept = self._calls.get(key)
            if kept is not None and kept.keep <= now:
                self._remove(kept)
        self._known = {name: known for name, known in self._known.items() if known.until > now}
        self._lanes.forget_idle()
