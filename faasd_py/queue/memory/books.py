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


class Book(msgspec.Struct, eq=False):
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


def record_of(book: Book) -> Record:
    """A call as it stands in the books."""
    entry, call = book.entry, book.entry.call
    return Record(
        id=entry.id, call_id=call.call_id or entry.id, lane=call.lane, state=book.state, attempts=entry.attempts,
        accepted_at=call.accepted_at or key_time(entry.key), due_at=book.due, started_at=book.started,
        finished_at=book.finished, expires_at=call.expires_at, status=book.status, reason=book.reason,
        priority=call.priority, size=entry.size, callback_url=call.callback_url, history=book.history,
    )  # fmt: skip
