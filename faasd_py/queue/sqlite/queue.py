"""The queue in one SQLite file: the life cycle of a call, and what a person asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import trio

from faasd_py.config import QueueSettings
from faasd_py.core.call import Call
from faasd_py.core.identity import key_time
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome
from faasd_py.queue.contract import Capabilities, Filter, QueueStats, Record
from faasd_py.queue.entry import Phase
from faasd_py.queue.keys import Keys
from faasd_py.queue.sqlite.changes import Cancel, Purge, Requeue, Unfuse
from faasd_py.queue.sqlite.committer import Committer
from faasd_py.queue.sqlite.inspection import Reader
from faasd_py.queue.sqlite.jobs import Stop
from faasd_py.queue.sqlite.lane import SqliteLane
from faasd_py.queue.sqlite.lease_queue import LeaseQueue
from faasd_py.queue.sqlite.opening import Opened
from faasd_py.queue.sqlite.pages import Picture
from faasd_py.queue.sqlite.upkeep import LaneRef, Upkeep

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
)
_LOUDEST: Final = (State.LEASED, State.READY, State.DELAYED, State.DEAD)
"""What cancelling several calls reports, if any of them stood there."""
_WAITING: Final = frozenset({State.READY, State.DELAYED})
_ALIVE: Final = frozenset({State.READY, State.DELAYED, State.LEASED})
_CANCELLABLE: Final = frozenset({State.READY, State.DELAYED, State.DEAD})
T = TypeVar("T")


class SqliteQueue(LeaseQueue):
    """Keeps `queue.contract.Queue`."""

    def __init__(
        self, settings: QueueSettings, opened: Opened, committer: Committer, clock: Callable[[], float]
    ) -> None:
        self.upkeep = Upkeep(clock, settings.max_results_bytes, opened.next_due)
        keys: Keys = opened.store.keys
        super().__init__(
            settings,
            keys,
            opened.store.body_store,
            committer,
            clock,
            self.upkeep.notice_due,
            self.upkeep.notice_surplus,
        )
        self._reader = Reader(opened.path, keys, opened.store.body_store)
        self._reading = trio.CapacityLimiter(1)
        self._quarantined = opened.quarantined
        for name, ready, delayed, dead, size, oldest in opened.lanes:
            self._recall(name, ready, delayed, dead, size).oldest_beyond = oldest

    def _recall(self, name: str, ready: int, delayed: int, dead: int, size: int) -> SqliteLane:
        """A lane as it was left."""
        lane = self._lanes.get(name)
        lane.ready, lane.delayed, lane.dead = ready, delayed, dead
        self._depth += ready + delayed
        self._bytes += size
        if ready:
            lane.mark = (-1, 0)
            self._lanes.announce(lane)
        return lane

    @property
    def capabilities(self) -> Capabilities:
        """See `queue.contract.Queue`."""
        return CAPABILITIES

    async def _ask(self, question: Callable[..., T], *arguments: object) -> T:
        """The answer of the record, as it stands after everything settled so far."""
        await self._settled()
        return await trio.to_thread.run_sync(question, *arguments, limiter=self._reading)

    def _picture(self) -> Picture:
        held = {
            key: entry.attempts + (entry.phase is Phase.STARTED)
            for key, entry in self._near.items()
            if entry.phase is not Phase.WAITING
        }
        fused = (key for key, entry in self._near.items() if entry.phase is Phase.WAITING and entry.fused)
        return Picture(held, frozenset(fused))

    def _lane_id(self, which: Filter) -> int | None:
        return None if which.lane is None else self.number(which.lane)

    def _before(self, which: Filter) -> int | None:
        return None if which.before is None else self._keys.key(which.before) or 0

    async def cancel(self, call: str) -> State | None:
        """See `queue.contract.Queue.cancel`."""
        keys = await self._ask(self._reader.matching, call)
        if not keys:
            return None
        found = await self._cancel(keys, _WAITING if len(keys) > 1 else _CANCELLABLE)
        if len(keys) > 1 and not _ALIVE.intersection(found.values()):
            dead = [key for key in keys if found[key] is State.DEAD]
            found |= await self._cancel(dead[:1], _CANCELLABLE)
        return next((state for state in _LOUDEST if state in found.values()), found[keys[0]])

    async def _cancel(self, keys: Sequence[int], states: frozenset[State]) -> dict[int, State]:
        """Cancel those that stand in one of the states; how each stood."""
        free = self.freeze(keys)
        found = dict.fromkeys(keys, State.LEASED)
        if free:
            job = Cancel(self, free, states, self._settings.result_retention)
            await self.do(job)
            found |= {key: job.found.get(key, State.CANCELLED) for key in free}
        return found

    async def requeue(self, call: str) -> State | None:
        """See `queue.contract.Queue.requeue`."""
        key = await self._ask(self._reader.resolve, call)
        if key is None:
            return None
        job = Requeue(self, [key])
        record = await self._record(key)
        await self.do(job)
        found = job.found.get(key)
        return found if found is State.DEAD or record is None else record.state

    async def forget(self, call: str) -> State | None:
        """See `queue.contract.Queue.forget`."""
        key = await self._ask(self._reader.resolve, call)
        record = None if key is None else await self._record(key)
        if key is None or record is None:
            return None
        job = Purge(self, self.freeze([key]), None)
        await self.do(job)
        return record.state if job.count else State.LEASED

    async def _record(self, key: int) -> Record | None:
        return await self._ask(self._reader.record, key, self._picture())

    async def find(self, call: str) -> Record | None:
        """See `queue.contract.Queue.find`."""
        key = await self._ask(self._reader.resolve, call)
        return None if key is None else await self._record(key)

    async def records(self, which: Filter, limit: int = 100) -> Sequence[Record]:
        """See `queue.contract.Queue.records`."""
        lane, before = self._lane_id(which), self._before(which)
        return await self._ask(self._reader.records, lane, which.state, before, limit, self._picture())

    async def request(self, call: str) -> Call | None:
        """See `queue.contract.Queue.request`."""
        key = await self._ask(self._reader.resolve, call)
        return None if key is None else await self._ask(self._reader.request, key)

    async def result(self, call: str) -> Outcome | None:
        """See `queue.contract.Queue.result`."""
        key = await self._ask(self._reader.resolve, call)
        return None if key is None else await self._ask(self._reader.result, key)

    async def requeue_all(self, which: Filter, limit: int = 1000) -> int:
        """See `queue.contract.Queue.requeue_all`."""
        if which.state not in {None, State.DEAD}:
            return 0
        keys = await self._keys_of(which, State.DEAD, limit)
        job = Requeue(self, keys)
        await self.do(job)
        return job.count

    async def purge(self, which: Filter, limit: int = 1000) -> int:
        """See `queue.contract.Queue.purge`."""
        if which.state is State.LEASED:
            return 0
        job = Purge(self, self.freeze(await self._keys_of(which, which.state, limit)), which.state)
        await self.do(job)
        return job.count

    async def _keys_of(self, which: Filter, state: State | None, limit: int) -> list[int]:
        lane, before = self._lane_id(which), self._before(which)
        return await self._ask(self._reader.keys_of, lane, state, before, limit, self._picture())

    def stats(self) -> QueueStats:
        """See `queue.contract.Queue.stats`."""
        lanes = {name: lane.stats(self._oldest(lane)) for name, lane in self._lanes.named.items()}
        return QueueStats(lanes=lanes, bytes=self._bytes, quarantined=self._quarantined)

    def _oldest(self, lane: SqliteLane) -> float | None:
        keys = [key for key in (lane.oldest_key(), lane.oldest_beyond) if key is not None]
        return key_time(min(keys)) if keys else None

    def trouble(self) -> str | None:
        """See `queue.contract.Queue.trouble`."""
        return self._trouble

    async def close(self) -> None:
        """Write what is not written, end the commit thread, close the file."""
        seeming = [
            (entry.key, LaneRef(entry.lane.id))  # type: ignore[attr-defined]
            for entry in self._near.values()
            if entry.phase is Phase.WAITING and entry.fused
        ]
        self._submit(Unfuse(seeming))
        stop = Stop()
        self._submit(stop)
        await stop.wait()
        self._committer.stop()
        await trio.to_thread.run_sync(self._committer.close)
        await trio.to_thread.run_sync(self._reader.close, limiter=self._reading)
