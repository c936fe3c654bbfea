"""Who waits for a call to be finished: woken by the daemon's own events, and now and then by the clock.

The clock is for what no event tells: a call that another daemon runs, or one that somebody purged.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import trio

from faasd_py.control import operations
from faasd_py.control.daemon import Daemon
from faasd_py.control.refused import Refused
from faasd_py.core.lifecycle import State
from faasd_py.observe.events import Events
from faasd_py.queue.contract import Record

MOST: Final = 256
"""Who may wait at once."""
LOOK: Final = 15.0
LOOK_SHARED: Final = 2.0
"""Seconds until a call is looked at without an event: alone with the queue, and with other daemons at it."""
OVER: Final = frozenset({State.DONE, State.DEAD, State.CANCELLED})
_TELLING: Final = frozenset(
    {"call.done", "call.dead", "call.cancelled", "callback.delivered", "callback.dead"}
)
_FOR_ALL: Final = frozenset({"calls.purged", "daemon.stopping"})


class Bell:
    """Rung when there may be news."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def ring(self) -> None:
        """There may be."""
        self._event.set()

    def still(self) -> None:
        """What is looked at from now on is new enough."""
        self._event = trio.Event()

    async def wait(self, seconds: float) -> None:
        """Until it is rung, or so many seconds."""
        with trio.move_on_after(seconds):
            await self._event.wait()


class Waits:
    """The bells by queue id. It listens to events only while somebody waits."""

    def __init__(self, events: Events, most: int = MOST) -> None:
        self._events = events
        self._most = most
        self._name = f"waits {id(self):x}"
        self._bells: dict[str, set[Bell]] = {}
        self.count = 0

    def __repr__(self) -> str:
        return f"<Waits: {self.count} wait for {len(self._bells)} calls>"

    @contextmanager
    def watching(self, call: str) -> Iterator[Bell]:
        """A bell for this call.

        Raises:
            Refused: 503, too many wait already.
        """
        if self.count >= self._most:
            raise Refused(503, f"{self._most} wait for calls already; ask again later, or without wait")
        bell = Bell()
        if not self.count:
            self._events.subscribe(self._hear, self._name)
        self.count += 1
        self._bells.setdefault(call, set()).add(bell)
        try:
            yield bell
        finally:
            self._leave(call, bell)

    def _leave(self, call: str, bell: Bell) -> None:
        self._bells[call].discard(bell)
        if not self._bells[call]:
            del self._bells[call]
        self.count -= 1
        if not self.count:
            self._events.unsubscribe(self._name)

    def _hear(self, event: Mapping[str, Any]) -> None:
        if event["event"] in _TELLING:
            for bell in self._bells.get(event["id"], ()):
                bell.ring()
        elif event["event"] in _FOR_ALL:
            for bells in self._bells.values():
                for bell in bells:
                    bell.ring()


async def until_over(daemon: Daemon, waits: Waits, call: str, seconds: float) -> Record:
    """The record of a call when it is over, or as it stands after so many seconds or when the daemon stops.

    Raises:
        Refused: it is unknown, or purged meanwhile; the queue cannot show calls; too many wait already.
    """
    record = await operations.find(daemon.queue, call)
    if record.state in OVER or not seconds:
        return record
    pause = LOOK_SHARED if daemon.queue.capabilities.shared else LOOK
    with waits.watching(record.id) as bell, trio.move_on_after(seconds):
        while True:
            bell.still()
            record = await operations.find(daemon.queue, record.id)
            if record.state in OVER or daemon.stopping:
                break
            await bell.wait(pause)
    return record
