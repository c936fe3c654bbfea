"""The latest events, numbered, for those who follow them.

There is one ring and each follower only has a place in it, so a slow one costs no more than a quick one: what the ring
has forgotten meanwhile is lost to it, and it is told how many those were. The ring listens while somebody follows and
LINGER seconds longer, so that who reconnects misses nothing; at other times events cost what they cost without it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final

import msgspec
import trio

from faasd_py.observe.events import Events

SIZE: Final = 1000
LINGER: Final = 60.0
_encode: Final = msgspec.json.Encoder(enc_hook=str).encode


class Told(msgspec.Struct, frozen=True, gc=False):
    """One event; `data` is all of it as JSON."""

    number: int
    event: str
    function: str | None
    data: bytes


class Missed(msgspec.Struct, frozen=True):
    """What a follower asks for and nobody has any more; `count` is None where nobody knows how many they were."""

    count: int | None


class Feed:
    """The events of one daemon. Numbers grow, also from one life of the daemon to the next.

    Args:
        events: where they come from.
        size: how many are kept.
        linger: seconds to listen when the last follower has left.
        clock: seconds since 1970; numbers begin at its microseconds.
    """

    def __init__(
        self,
        events: Events,
        *,
        size: int = SIZE,
        linger: float = LINGER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._events = events
        self._linger = linger
        self._clock = clock
        self._ring: deque[Told] = deque(maxlen=size)
        self._lot = trio.lowlevel.ParkingLot()
        self._name = f"feed {id(self):x}"
        self._listening = False
        self._begun = 0
        self._left_at = 0.0
        self.followers = 0
        self.last = 0
        """The number of the newest event."""

    def __repr__(self) -> str:
        return f"<Feed: {len(self._ring)} events up to {self.last}, {self.followers} followers>"

    @contextmanager
    def following(self) -> Iterator[None]:
        """As long as the block lasts, nothing is forgotten that the ring has room for."""
        self.followers += 1
        self._listen()
        try:
            yield
        finally:
            self.followers -= 1
            self._left_at = self._clock()

    def _listen(self) -> None:
        if not self._listening:
            self._listening = True
            self._ring.clear()
            self._begun = self.last = max(self.last + 1, int(self._clock() * 1e6))
            self._events.subscribe(self._hear, self._name)

    def _hear(self, event: Mapping[str, Any]) -> None:
        if not self.followers and self._clock() - self._left_at > self._linger:
            self._listening = False
            self._events.unsubscribe(self._name)
            return
        self.last += 1
        self._ring.append(Told(self.last, event["event"], event.get("function"), _encode(event)))
        if self._lot:
            self._lot.unpark_all()

    def after(self, number: int) -> tuple[Missed | None, Sequence[Told]]:
        """What came after the event of this number, and what of that is lost."""
        if not self._begun <= number <= self.last:
            return Missed(None), tuple(self._ring)
        first = self.last - len(self._ring)
        missed = Missed(first - number) if number < first else None
        return missed, tuple(islice(self._ring, max(0, number - first), None))

    async def wait(self, number: int) -> None:
        """Wait for an event after this number."""
        while self.last <= number:
            await self._lot.park()
