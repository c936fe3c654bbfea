"""What a queue promises, whatever stores it. `faasd_py.testing.QueueConformance` is this page as tests.

The life cycle of a call through a queue, in the order a worker walks it:

    put ─▶ (next_lane ─▶) wait_ready ─▶ lease_nowait ─▶ start ─▶ … the attempt … ─▶ settle

- `put` returns when the call is as safe as the backend can make it (`Capabilities.durable`).
- `wait_ready` takes nothing, and `lease_nowait` is synchronous: cancelling a worker cannot lose a call.
- `start` returns when the attempt is on record so that the death of this process will count it (the poison guard).
- `settle` is the end of the attempt; the callback goes into the queue in the same transaction.
- A lease does not expire while its holder lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec
import trio

from faasd_py.core.call import Call, Lease
from faasd_py.core.errors import FaasdError
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Attempt, Outcome, Verdict


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a backend honestly can do. `max_body` is in bytes; None: as much as the daemon's own limit."""

    durable: bool
    delay: bool = False
    priority: bool = False
    expiry: bool = False
    dedup: bool = False
    inspect: bool = False
    cancel: bool = False
    results: bool = False
    dead_letters: bool = False
    shared: bool = False
    """Several daemons may serve it at once."""
    max_body: int | None = None


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The receipt of a put."""

    id: str
    call_id: str
    duplicate: bool = False
    """The idempotency key was known: nothing was put, and the ids are the first call's."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A call as it stands in the books, without its bodies."""

    id: str
    call_id: str
    lane: str
    state: State
    attempts: int
    accepted_at: float
    due_at: float | None = None
    """When a DELAYED call becomes READY."""
    started_at: float | None = None
    finished_at: float | None = None
    expires_at: float | None = None
    status: int | None = None
    """The last answer's."""
    reason: str = ""
    priority: int = 0
    size: int = 0
    callback_url: str | None = None
    history: tuple[Attempt, ...] = ()


class LaneStats(msgspec.Struct, kw_only=True):
    """One lane's figures; `oldest_at` is when the oldest waiting call was accepted, in seconds since 1970."""

    ready: int = 0
    leased: int = 0
    delayed: int = 0
    dead: int = 0
    oldest_at: float | None = None


class QueueStats(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of the whole queue. `bytes` counts what waits, leased included."""

    lanes: dict[str, LaneStats]
    bytes: int
    quarantined: int = 0


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which calls are meant. None: any. `before`: only calls older than this id, for paging newest first."""

    lane: str | None = None
    state: State | None = None
    before: str | None = None


class Queue(Protocol):
    """The calls of one daemon. All methods are for one trio loop."""

    @property
    def capabilities(self) -> Capabilities:
        """What this backend can do."""
        ...

    async def put(self, call: Call) -> Accepted:
        """Keep a call: when this returns it survives whatever the backend survives.

        A spooled body becomes the queue's own when this returns, and stays the caller's when it raises.
        Cancelled while waiting, the call may or may not have been kept (nobody was told that it was).

        Raises:
            QueueFull: `max_depth` or `max_bytes` is reached; nothing was kept.
            QueueUnavailable: safety cannot be promised now; nothing was kept.
            IdempotencyConflict: the key was used with another fingerprint.
            BadOption: the call asks for what `capabilities` lack.
        """
        ...

    async def next_lane(self) -> str:
        """Wait for a lane that has READY calls and that nobody serves; from now on the caller serves it."""
        ...

    def leave(self, lane: str) -> None:
        """The caller serves this lane no longer; it will be announced again when it has READY calls."""
        ...

    async def wait_ready(self, lane: str) -> None:
        """Wait until the lane has a READY call; it is not taken. No checkpoint if it has one."""
        ...

    def lease_nowait(self, lane: str) -> Lease | None:
        """Take the lane's first READY call: highest priority, then oldest due. None if there is none at hand."""
        ...

    async def start(self, lease: Lease) -> None:
        """Record that attempt number `lease.attempt` begins.

        Raises:
            QueueUnavailable: it cannot be recorded now; the lease is still held, settle it with RELEASE.
        """
        ...

    async def settle(
        self, lease: Lease, verdict: Verdict, outcome: Outcome | None = None, callback: Call | None = None
    ) -> None:
        """End the lease; outcome and callback are kept in the same transaction.

        Returns once the order of things is fixed; a crash before the next commit may at worst run the call again.
        A callback is given out only after that commit. A RELEASE of a lease that was never started counts no attempt;
        one of a started lease with the reason `crashed` makes the next lease say that it was interrupted.
        Never raises for want of space: the settlement is held and tried again.

        Raises:
            IllegalMove: the verdict's move does not lead out of LEASED, or the lease was settled already.
        """
        ...

    async def flush(self) -> None:
        """Return when everything settled so far is as safe as a put is."""
        ...

    async def cancel(self, call: str) -> State | None:
        """Cancel by queue id or by the caller's X-Call-Id (then every waiting call that has it).

        Returns what it found, before the move: READY, DELAYED or DEAD mean that it is CANCELLED now; LEASED that a
        worker has it and must be asked; DONE or CANCELLED that it is too late; None that it is unknown.
        """
        ...

    async def requeue(self, call: str) -> State | None:
        """Make a DEAD call READY with its attempts at zero; returns what it found, before the move."""
        ...

    async def forget(self, call: str) -> State | None:
        """Remove one call, found as `find` does, with its result, unless it is LEASED; returns what it found."""
        ...

    async def find(self, call: str) -> Record | None:
        """The record, by queue id, else the newest call with this X-Call-Id."""
        ...

    async def records(self, which: Filter, limit: int = 100) -> Sequence[Record]:
        """At most `limit` records, newest first."""
        ...

    async def request(self, call: str) -> Call | None:
        """The call itself as it was put, while it is kept; a spooled body stays the queue's."""
        ...

    async def result(self, call: str) -> Outcome | None:
        """The last outcome, while it is kept."""
        ...

    async def requeue_all(self, which: Filter, limit: int = 1000) -> int:
        """Requeue up to `limit` DEAD calls that match; how many it were."""
        ...

    async def purge(self, which: Filter, limit: int = 1000) -> int:
        """Remove up to `limit` calls that match and that are not LEASED, with results; how many it were."""
        ...

    def stats(self) -> QueueStats:
        """The figures now, from counters: never a scan."""
        ...

    def trouble(self) -> str | None:
        """Why calls cannot be accepted or settled now, in one sentence; None when all is well."""
        ...


async def start_many(queue: Queue, leases: Sequence[Lease]) -> list[Exception | None]:
    """`Queue.start` for each of these leases, at once; what each of them raised, or None.

    A backend whose `start` waits for a commit may offer a method of this name, without `queue`, that waits once for all.
    """
    own = getattr(queue, "start_many", None)
    if own is not None:
        found: list[Exception | None] = await own(leases)
        return found
    errors: list[Exception | None] = [None] * len(leases)

    async def one(number: int) -> None:
        try:
            await queue.start(leases[number])
        except FaasdError as error:
            errors[number] = error

    async with trio.open_nursery() as nursery:
        for number in range(len(leases)):
            nursery.start_soon(one, number)
    return errors
