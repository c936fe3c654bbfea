"""What time does to calls: the delayed come due, the finished are forgotten. Small steps, one transaction each."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from faasd_py.core.errors import FaasdError
from faasd_py.core.lifecycle import State
from faasd_py.queue.sqlite import rows
from faasd_py.queue.sqlite.jobs import Ask
from faasd_py.queue.sqlite.schema import ANSWER_APART

if TYPE_CHECKING:
    from faasd_py.queue.sqlite.lease_queue import LeaseQueue
    from faasd_py.queue.sqlite.store import Store

STEP: Final = 256
WAKE: Final = 1.0
"""While anything is delayed, the wall clock is looked at this often: it may have been set."""
SWEEP: Final = 60.0
PAUSE: Final = 0.5
"""After a failure."""
_DUE: Final = (
    f"SELECT {rows.WAITING_COLUMNS} FROM calls"
    f" WHERE state = {State.DELAYED:d} AND due <= ? ORDER BY due LIMIT {STEP}"
)
_NEXT: Final = f"SELECT due FROM calls WHERE state = {State.DELAYED:d} ORDER BY due LIMIT 1"
_OLD: Final = f"SELECT key, lane, state, size, flags, ifnull(kept, 0) FROM calls WHERE keep <= ? ORDER BY keep LIMIT {STEP}"
logger: Final = logging.getLogger("faasd_py.queue")


class LaneRef(msgspec.Struct, frozen=True):
    """A lane that is on record already, known by its number."""

    id: int
    name: str = ""


def next_due(store: Store) -> float | None:
    """When the next delayed call is due, in seconds since 1970."""
    row = store.execute(_NEXT).fetchone()
    return None if row is None else row[0] / 1000


class Due(Ask):
    """DELAYED calls whose time has come are READY."""

    __slots__ = ("_damaged", "_found", "_queue", "next")

    def __init__(self, queue: LeaseQueue) -> None:
        super().__init__()
        self._queue = queue
        self.next: float | None = None

    def run(self, store: Store) -> None:
        """At most STEP of them."""
        self._found: list[rows.Waiting] = []
        self._damaged: list[tuple[int, int]] = []
        for row in store.execute(_DUE, (int(store.clock() * 1000),)).fetchall():
            lane = LaneRef(row[1])
            try:
                self._found.append(rows.waiting(row, store.body_store))
            except rows.Damaged as error:
                store.quarantine(row, lane, str(error), State.DELAYED)
                self._damaged.append((row[1], row[5]))
                continue
            store.execute("UPDATE calls SET state = ?, due = NULL WHERE key = ?", (int(State.READY), row[0]))
            store.figures.moved(lane, State.DELAYED, State.READY)
        self.next = next_due(store)

    def land(self) -> None:
        """They are at hand, or in their place on record."""
        self._queue.came_due(self._found, self._damaged)


class Sweep(Ask):
    """What is kept no longer is removed; so are the oldest results when all together are too large."""

    __slots__ = ("_limit", "_queue", "_removed", "more")

    def __init__(self, queue: LeaseQueue, limit: int) -> None:
        super().__init__()
        self._queue = queue
        self._limit = limit
        self.more = False

    def run(self, store: Store) -> None:
        """At most STEP of each."""
        now = int(store.clock())
        self._removed: list[tuple[int, State]] = []
        old = store.execute(_OLD, (now,)).fetchall()
        for row in old:
            remove(store, row)
            self._removed.append((row[1], State(row[2])))
        surplus = self._trim(store)
        store.execute(
            f"DELETE FROM keyed WHERE (lane, name) IN (SELECT lane, name FROM keyed WHERE until <= ? LIMIT {STEP})",
            (now,),
        )
        store.execute("DELETE FROM lanes WHERE NOT (ready OR leased OR delayed OR dead OR bytes OR kept)")
        self.more = len(old) == STEP or surplus

    def _trim(self, store: Store) -> bool:
        """Forget the oldest results until the rest is within the limit; a dead letter loses its answer only."""
        over = store.figures.kept + store.figures.change_of_kept() - self._limit
        if over <= 0:
            return False
        for row in store.execute(
            f"SELECT key, lane, state, size, flags, kept FROM calls WHERE keep IS NOT NULL AND kept > 0 ORDER BY keep LIMIT {STEP}"
        ).fetchall():
            over -= row[5]
            if row[2] == State.DEAD:
                drop_answer(store, row)
            else:
                remove(store, row)
            if over <= 0:
                return False
        return True

    def land(self) -> None:
        """The figures tell of it."""
        for lane, state in self._removed:
            self._queue.left(lane, state, 0)


def remove(store: Store, row: tuple[int, int, int, int, int, int]) -> None:
    """Remove a call altogether: `row` is key, lane, state, size, flags, kept."""
    key, lane, state, size, flags, kept = row
    store.execute("DELETE FROM calls WHERE key = ?", (key,))
    if flags & ANSWER_APART:
        store.execute("DELETE FROM answers WHERE key = ?", (key,))
    store.drop_body(key, flags)
    store.figures.moved(LaneRef(lane), State(state), None, size=size, kept=-kept)


def drop_answer(store: Store, row: tuple[int, int, int, int, int, int]) -> None:
    """Forget a call's answer; its status stays."""
    key, lane, state, _size, flags, kept = row
    store.execute(
        "UPDATE calls SET outcome = NULL, kept = 0, flags = ? WHERE key = ?", (flags & ~ANSWER_APART, key)
    )
    store.execute("DELETE FROM answers WHERE key = ?", (key,))
    store.figures.moved(LaneRef(lane), State(state), State(state), kept=-kept)


class Upkeep:
    """The one task that watches the clock."""

    def __init__(self, clock: Callable[[], float], limit: int, due: float | None) -> None:
        self._clock = clock
        self._limit = limit
        self._due = due
        self._surplus = False
        self._changed = trio.Event()

    def notice_due(self, due: float) -> None:
        """A call is DELAYED until then."""
        if self._due is None or due < self._due:
            self._due = due
            self._changed.set()

    def notice_surplus(self) -> None:
        """There are more results than may be kept."""
        if not self._surplus:
            self._surplus = True
            self._changed.set()

    async def run(self, queue: LeaseQueue) -> None:
        """Until cancelled."""
        swept = -math.inf
        while True:
            try:
                if self._due is not None and self._due <= self._clock():
                    await self._come_due(queue)
                if self._surplus or trio.current_time() - swept >= SWEEP:
                    await self._sweep(queue)
                    swept = trio.current_time()
            except FaasdError as error:
                logger.warning("upkeep of the queue failed and is tried again: %s", error)
                await trio.sleep(PAUSE)
            await self._wait(swept)

    async def _wait(self, swept: float) -> None:
        rest = max(0.0, swept + SWEEP - trio.current_time())
        if self._due is not None:
            rest = min(rest, WAKE, max(0.0, self._due - self._clock()))
        with trio.move_on_after(rest):
            await self._changed.wait()
        self._changed = trio.Event()

    async def _come_due(self, queue: LeaseQueue) -> None:
        self._due = None
        job = Due(queue)
        try:
            await queue.do(job)
        except FaasdError:
            self.notice_due(self._clock())
            raise
        if job.next is not None:
            self.notice_due(job.next)

    async def _sweep(self, queue: LeaseQueue) -> None:
        self._surplus = False
        job = Sweep(queue, self._limit)
        await queue.do(job)
        if job.more:
            self.notice_surplus()
        queue.tidy()
