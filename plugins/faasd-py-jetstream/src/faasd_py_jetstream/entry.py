"""A call in this daemon's hands."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from faasd_py.api import Attempt, Call, Outcome, Record, State

if TYPE_CHECKING:
    from faasd_py_jetstream.lane import Lane
    from faasd_py_jetstream.source import Source


class Phase(IntEnum):
    """Where an entry stands."""

    COMING = 5
    """It was delivered, and is looked into before it may be given out."""
    AT_HAND = 0
    HELD = 1
    STARTED = 2
    SETTLING = 3
    """Its end is on its way to the broker."""
    OVER = 4


class Past(msgspec.Struct, frozen=True):
    """What earlier attempts left: kept in a row at the broker, and here while it is ours to remember."""

    attempts: int = 0
    history: tuple[Attempt, ...] = ()
    outcome: Outcome | None = None
    reason: str = ""
    due: float | None = None
    started_at: float | None = None
    row: bool = False
    """There is a row."""
    crashed: bool = False
    count: int = 0
    """How often the message had been delivered by then."""


FRESH = Past()


class Entry(msgspec.Struct, eq=False):
    """The token of a lease. `key` orders; `seq` and `reply` are the message's."""

    key: int
    id: str
    lane: Lane
    source: Source
    call: Call
    size: int
    seq: int
    reply: str
    count: int
    arrived_at: float
    """By trio's clock."""
    past: Past = FRESH
    phase: Phase = Phase.AT_HAND
    attempts: int = 0
    started_at: float | None = None
    stored: str = ""
    """The header that says where its large body lies."""
    file: str = ""
    """The file that its large body was fetched into."""
    state: State = State.READY
    reason: str = ""
    status: int | None = None
    finished_at: float | None = None
    outcome: Outcome | None = None
    history: tuple[Attempt, ...] = ()
    due: float | None = None

    @property
    def rank(self) -> tuple[str, int, str]:
        """The smallest is given out first."""
        return self.source.priority, _due_key(self), self.id

    def __lt__(self, other: Entry) -> bool:
        """Entries of one place are in no order."""
        return False

    def record(self) -> Record:
        """As its record has it."""
        call = self.call
        return Record(
            id=self.id, call_id=call.call_id or self.id, lane=call.lane, state=self.state, attempts=self.attempts,
            accepted_at=call.accepted_at or (self.key >> 15) / 1000, due_at=self.due, started_at=self.started_at,
            finished_at=self.finished_at, expires_at=call.expires_at, status=self.status, reason=self.reason,
            priority=call.priority, size=self.size, callback_url=call.callback_url, history=self.history,
        )  # fmt: skip


def _due_key(entry: Entry) -> int:
    due = entry.past.due if entry.past.due is not None else entry.call.not_before
    return entry.key if due is None else max(entry.key, int(due * 1000) << 15)
