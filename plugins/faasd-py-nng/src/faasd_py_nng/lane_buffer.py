"""The calls of one lane that are here, or on their way: and how many more the hub may send."""

from __future__ import annotations

import math
from collections import deque
from enum import IntEnum
from typing import Final

import msgspec
import trio

from faasd_py.api import Call

MEMORY: Final = 0.1
"""Seconds over which the pace of a lane is felt."""


class Phase(IntEnum):
    """Where a lease stands here."""

    AT_HAND = 0
    HELD = 1
    STARTED = 2
    OVER = 3


class Entry(msgspec.Struct, eq=False):
    """A lease that the hub granted: the token of the worker's."""

    number: int
    id: str
    lane: str
    call: Call
    attempt: int
    crashed: bool
    size: int
    phase: Phase = Phase.AT_HAND
    lost: bool = False
    """The hub has given it to somebody else."""
    path: str = ""
    """The file its large body lies in."""


class LaneBuffer:
    """`served`: somebody here has it from `next_lane`."""

    def __init__(self, name: str, prefetch: int) -> None:
        self.name = name
        self.at_hand: deque[Entry] = deque()
        self.lot = trio.lowlevel.ParkingLot()
        self.waiting = 0
        self.served = False
        self.ours = False
        """This daemon serves the lane: its calls may be asked for."""
        self.taken = 0
        """Leases in workers' hands, and those whose end the hub has not confirmed."""
        self.total = 0
        self.received = 0
        self.last = -math.inf
        self._taken_lately = 0.0
        self._prefetch = prefetch

    def __repr__(self) -> str:
        return f"<LaneBuffer {self.name}: {len(self.at_hand)} at hand, {self.taken} taken>"

    def take(self) -> Entry | None:
        """The first call at hand."""
        if not self.at_hand:
            return None
        now = trio.current_time()
        self._taken_lately = self._decayed(now) + 1
        self.last = now
        self.taken += 1
        entry = self.at_hand.popleft()
        entry.phase = Phase.HELD
        return entry

    def _decayed(self, now: float) -> float:
        return self._taken_lately * math.exp((self.last - now) / MEMORY) if self._taken_lately else 0.0

    def credit(self) -> int | None:
        """The new total to tell the hub; None: what it knows will do.

        One for who waits, and as many more as were taken lately: a slow function never holds calls that others could
        run, a quick one never waits for the link.
        """
        want = min(self._prefetch, (1 if self.waiting else 0) + int(self._decayed(trio.current_time())))
        total = self.received + max(0, want - len(self.at_hand))
        ahead = self.total - self.received
        if total > self.total and (ahead <= 0 or total - self.total >= want // 2):
            self.total = total
            return total
        return None

    def revoke(self) -> int | None:
        """The total that stops the hub; None: it is stopped."""
        if self.total <= self.received:
            return None
        self.total = self.received
        return self.total

    def reset(self) -> None:
        """The hub counts anew."""
        self.total = self.received = 0

    def is_idle(self, seconds: float) -> bool:
        """Nobody waits, and nobody took anything for so long."""
        return not self.waiting and trio.current_time() - self.last >= seconds
