"""A call in this process's hands: waiting at hand, held by a worker, or started."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING

import msgspec

from faasd_py.core.call import Call

if TYPE_CHECKING:
    from faasd_py.queue.lane import Lane


class Phase(IntEnum):
    """Where an entry stands in memory; what is on record may lag behind or, when fused, run ahead."""

    ELSEWHERE = 0
    """Not in memory: being written, or withdrawn."""
    WAITING = 1
    HELD = 2
    STARTED = 3
    OVER = 4


class Entry(msgspec.Struct, eq=False):
    """What the queue knows of a call beside the call: the token of its lease."""

    key: int
    id: str
    lane: Lane
    rank: int
    call: Call
    size: int
    attempts: int = 0
    """Attempts on record before the one to come."""
    crashed: bool = False
    fused: bool = False
    """The attempt to come is on record already."""
    phase: Phase = Phase.ELSEWHERE
    kept: int = 0
    """Bytes of the outcome on record."""
    history: bytes = b""
    flags: int = 0
    """The backend's own."""

    def __lt__(self, other: Entry) -> bool:
        """Entries of one place are in no order: a heap may hold an entry twice."""
        return False
