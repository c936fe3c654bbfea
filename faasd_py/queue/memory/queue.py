"""The queue in memory: the life cycle of a call, and what a person asks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Final

import trio

from faasd_py.core.call import Call
from faasd_py.core.identity import key_time
from faasd_py.core.lifecycle import Move, State, after
from faasd_py.core.outcome import Outcome
from faasd_py.queue import rank
from faasd_py.queue.contract import Capabilities, Filter, QueueStats, Record
from faasd_py.queue.memory.kept import Kept, record_of
from faasd_py.queue.memory.lease_queue import LeaseQueue

CAPABILITIES: Final = Capabilities(
    durable=False,
    delay=True,
    priority=True,
    expiry=True,
    dedup=True,
    inspect=True,
    cancel=True,
    results=True,
    dead_letters=True,
)
_LOUDEST: Final = (State.LEASED, State.READY, State.DELAYED, State.DEAD)
"""What cancelling several calls reports, if any of them stood there."""


class MemoryQueue(LeaseQueue):
    """Keeps `queue.contract.Queue`."""

    @property
    def capabilities(self) -> Capabilities:
        """See `queue.contract.Queue`."""
        return CAPABILITIES

    def _matching(self, call: str) -> list[Kept]:
        key = self._keys.key(call)
        if key is not None and key in self._calls:
            return [self._calls[key]]
        return [self._calls[key] for key in reversed(self._by_call_id.get(call, ()))]

    async def cancel(self, call: str) -> State | None:
        """See `queue.contract.Queue.cancel`."""
        await trio.lowlevel.checkpoint()
        matching = self._matching(call)
        found = [kept.state for kept in matching]
        waiting = [kept for kept in matching if kept.state in {State.READY, State.DELAYED}]
        if not waiting and State.LEASED not in found:
            waiting = [kept for kept in matching if kept.state is State.DEAD][:1]
        for kept in waiting:
            self._cancel(kept)
        return next((state for state in _LOUDEST if state in found), found[0] if found else None)

    def _cancel(self, kept: Kept) -> None:
        self._left(kept)
        kept.state = after(kept.state, Move.CANCEL)
        kept.due, kept.reason, kept.finished = None, "cancelled", self._clock()
        kept.keep = kept.finished + self._settings.result_retention
        self._forget.set(kept.keep, kept.entry.key)
        self._drop_body(kept)

    async def requeue(self, call: str) -> State | None:
        """See `queue.contract.Queue.requeue`."""
        await trio.lowlevel.checkpoint()
        matching = self._matching(call)
        if not matching:
            return None
        found = matching[0].state
        if found is State.DEAD:
            self._requeue(matching[0])
        return found

    def _requeue(self, kept: Kept) -> None:
        kept.state = after(kept.state, Move.REQUEUE)
        entry = kept.entry
        entry.lane.dead -= 1
        entry.attempts = 0
        entry.rank = rank.of_time(entry.call.priority, self._clock(), entry.key)
        kept.keep, kept.finished, kept.reason = math.inf, None, ""
        self._depth += 1
        self._bytes += entry.size
        self._ready(kept)

    def _select(self, which: Filter) -> Iterator[Kept]:
        """What matches, newest first."""
        before = math.inf if which.before is None else self._keys.key(which.before) or 0
        for key in reversed(list(self._calls)):
            kept = self._calls[key]
            if (
                key < before
                and which.state in {None, kept.state}
                and which.lane in {None, kept.entry.lane.name}
            ):
                yield kept

    async def forget(self, call: str) -> State | None:
        """See `queue.contract.Queue.forget`."""
        await trio.lowlevel.checkpoint()
        matching = self._matching(call)
        if not matching:
            return None
        found = matching[0].state
        if found is not State.LEASED:
            self._remove(matching[0])
        return found

    async def find(self, call: str) -> Record | None:
        """See `queue.contract.Queue.find`."""
        await trio.lowlevel.checkpoint()
        matching = self._matching(call)
        return record_of(matching[0]) if matching else None

    async def records(self, which: Filter, limit: int = 100) -> Sequence[Record]:
        """See `queue.contract.Queue.records`."""
        await trio.lowlevel.checkpoint()
        return [record_of(kept) for kept, _ in zip(self._select(which), range(limit), strict=False)]

    async def request(self, call: str) -> Call | None:
        """See `queue.contract.Queue.request`."""
        await trio.lowlevel.checkpoint()
        matching = self._matching(call)
        return matching[0].request if matching else None

    async def result(self, call: str) -> Outcome | None:
        """See `queue.contract.Queue.result`."""
        await trio.lowlevel.checkpoint()
        matching = self._matching(call)
        return matching[0].outcome if matching else None

    async def requeue_all(self, which: Filter, limit: int = 1000) -> int:
        """See `queue.contract.Queue.requeue_all`."""
        await trio.lowlevel.checkpoint()
        dead = (kept for kept in self._select(which) if kept.state is State.DEAD)
        chosen = [kept for kept, _ in zip(dead, range(limit), strict=False)]
        for kept in reversed(chosen):
            self._requeue(kept)
        return len(chosen)

    async def purge(self, which: Filter, limit: int = 1000) -> int:
        """See `queue.contract.Queue.purge`."""
        await trio.lowlevel.checkpoint()
        free = (kept for kept in self._select(which) if kept.state is not State.LEASED)
        chosen = [kept for kept, _ in zip(free, range(limit), strict=False)]
        for kept in chosen:
            self._remove(kept)
        return len(chosen)

    def stats(self) -> QueueStats:
        """See `queue.contract.Queue.stats`."""
        lanes = {}
        for name, lane in self._lanes.named.items():
            oldest = lane.oldest_key()
            lanes[name] = lane.stats(None if oldest is None else key_time(oldest))
        return QueueStats(lanes=lanes, bytes=self._bytes)

    def trouble(self) -> str | None:
        """See `queue.contract.Queue.trouble`."""
        return None
