"""What is known of each call, and of each idempotency key."""

from __future__ import annotations

import math

import msgspec

from faasd_py.core.call import Call
from faasd_py.core.identity import key_time
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Attempt, Outcome
from faasd_py.queue.contract import Accepted, Record
from faasd_py.queue.entry import Entry


class Kept(msgspec.Struct, eq=False):
    """What is known of one call; `entry` is its token while it waits or is held."""

    entry: Entry
    state: State
    request: Call | None
    due: float | None = None
    started: float | None = None
    finished: float | None = None
    keep: float = math.inf
    reason: str = ""
    outcome: Outcome | None = None
    status: int | None = None
    history: tuple[Attempt, ...] = ()


class Known(msgspec.Struct, frozen=True):
    """An idempotency key that was used."""

    receipt: Accepted
    fingerprint: bytes
    until: float


def record_of(kept: Kept) -> Record:
    """A call as it stands now."""
    entry, call = kept.entry, kept.entry.call
    return Record(
        id=entry.id, call_id=call.call_id or entry.id, lane=call.lane, state=kept.state, attempts=entry.attempts,
        accepted_at=call.accepted_at or key_time(entry.key), due_at=kept.due, started_at=kept.started,
        finished_at=kept.finished, expires_at=call.expires_at, status=kept.status, reason=kept.reason,
        priority=call.priority, size=entry.size, callback_url=call.callback_url, history=kept.history,
    )  # fmt: skip
