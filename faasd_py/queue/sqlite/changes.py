"""What a person asks for: cancel, requeue, purge. Each names its calls by key; none of them is held by a worker."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import TYPE_CHECKING, Final

from faasd_py.core.lifecycle import Move, State, after
from faasd_py.queue import rank
from faasd_py.queue.sqlite import rows
from faasd_py.queue.sqlite.jobs import Ask
from faasd_py.queue.sqlite.upkeep import LaneRef, remove

if TYPE_CHECKING:
    from faasd_py.queue.sqlite.lease_queue import LeaseQueue
    from faasd_py.queue.sqlite.store import Store

_STANDS: Final = "SELECT key, lane, state, size, flags, ifnull(kept, 0) FROM calls WHERE key = ?"
_CANCEL: Final = (
    "UPDATE calls SET state = ?, due = NULL, finished = ?, reason = 'cancelled', keep = ? WHERE key = ?"
)
_REQUEUE: Final = (
    "UPDATE calls SET state = ?, rank = ?, attempts = 0, flags = flags & ~1, finished = NULL, reason = NULL,"
    " keep = NULL WHERE key = ?"
)
_WAITING: Final = f"SELECT {rows.WAITING_COLUMNS} FROM calls WHERE calls.key = ?"


class Cancel(Ask):
    """Frozen calls that stand in one of some states are CANCELLED; `found` says how each stood."""

    __slots__ = ("_frozen", "_fused", "_keep", "_moved", "_queue", "_states", "found")

    def __init__(
        self, queue: LeaseQueue, frozen: Sequence[int], states: Container[State], keep: float
    ) -> None:
        super().__init__()
        self._queue = queue
        self._frozen = frozen
        self._fused = queue.fused(frozen)
        self._states = states
        self._keep = keep
        self.found: dict[int, State] = {}

    def run(self, store: Store) -> None:
        """One after the other."""
        self.found = {}
        self._moved: list[tuple[int, int, State, int]] = []
        for key in self._frozen:
            row = store.execute(_STANDS, (key,)).fetchone()
            if row is not None:
                self._cancel(store, row)

    def _cancel(self, store: Store, row: tuple[int, int, int, int, int, int]) -> None:
        key, lane, stands, size, flags, _kept = row
        was = State(stands)
        self.found[key] = seen = State.READY if key in self._fused else was
        if seen not in self._states:
            return
        now = store.clock()
        state = after(seen, Move.CANCEL)
        store.execute(_CANCEL, (int(state), now, int(now + self._keep), key))
        store.drop_body(key, flags)
        store.figures.moved(LaneRef(lane), was, state, size=size)
        self._moved.append((key, lane, seen, size))

    def land(self) -> None:
        """They are gone from the figures."""
        for _key, lane, seen, size in self._moved:
            self._queue.left(lane, seen, size)
        self._queue.thaw(self._frozen, {moved[0] for moved in self._moved})

    def fail(self) -> None:
        """They stand where they stood."""
        self._queue.thaw(self._frozen)


class Requeue(Ask):
    """DEAD calls are READY again, their attempts at zero; `found` says how each stood."""

    __slots__ = ("_keys", "_moved", "_queue", "found")

    def __init__(self, queue: LeaseQueue, keys: Sequence[int]) -> None:
        super().__init__()
        self._queue = queue
        self._keys = keys
        self.found: dict[int, State] = {}

    def run(self, store: Store) -> None:
        """One after the other, in their old order."""
        self.found = {}
        self._moved: list[rows.Waiting] = []
        for key in sorted(self._keys):
            row = store.execute(_WAITING, (key,)).fetchone()
            stands = store.execute(_STANDS, (key,)).fetchone()
            if row is None or stands is None:
                continue
            self.found[key] = was = State(stands[2])
            if was is State.DEAD:
                self._requeue(store, row)

    def _requeue(
        self, store: Store, row: tuple[int, int, int, int, int, int, int, bytes, bytes, bytes | None]
    ) -> None:
        lane = LaneRef(row[1])
        try:
            read = rows.waiting(row, store.body_store)
        except rows.Damaged as error:
            store.quarantine(row, lane, str(error), State.DEAD)
            return
        place = rank.of_time(read.call.priority, store.clock(), read.key)
        state = after(State.DEAD, Move.REQUEUE)
        store.execute(_REQUEUE, (int(state), place, read.key))
        store.figures.moved(lane, State.DEAD, state, size=read.size)
        self._moved.append(
            rows.Waiting(
                read.key, read.lane, place, 0, read.flags & ~1, read.size, read.kept, read.history, read.call
            )
        )

    def land(self) -> None:
        """They are at hand, or in their place on record."""
        self._queue.revived(self._moved)

    @property
    def count(self) -> int:
        """How many are READY now."""
        return len(self._moved)


class Purge(Ask):
    """Frozen calls are removed altogether."""

    __slots__ = ("_frozen", "_fused", "_moved", "_queue", "_state")

    def __init__(self, queue: LeaseQueue, frozen: Sequence[int], state: State | None) -> None:
        super().__init__()
        self._queue = queue
        self._frozen = frozen
        self._fused = queue.fused(frozen)
        self._state = state

    def run(self, store: Store) -> None:
        """One after the other; one that a worker has by now, or that is in another state than was meant, stays."""
        self._moved: list[tuple[int, int, State, int]] = []
        for key in self._frozen:
            row = store.execute(_STANDS, (key,)).fetchone()
            if row is None:
                continue
            seen = State.READY if key in self._fused else State(row[2])
            if seen is State.LEASED or self._state not in {None, seen}:
                continue
            remove(store, row)
            self._moved.append((key, row[1], seen, row[3]))

    def land(self) -> None:
        """They are gone from the figures."""
        for _key, lane, seen, size in self._moved:
            self._queue.left(lane, seen, size)
        self._queue.thaw(self._frozen, {moved[0] for moved in self._moved})

    def fail(self) -> None:
        """They stand where they stood."""
        self._queue.thaw(self._frozen)

    @property
    def count(self) -> int:
        """How many are gone."""
        return len(self._moved)


class Unfuse(Ask):
    """At the end: calls that were written as begun, and were not, are READY on record."""

    __slots__ = ("_entries",)

    def __init__(self, entries: Sequence[tuple[int, LaneRef]]) -> None:
        super().__init__()
        self._entries = entries

    def run(self, store: Store) -> None:
        """All of them."""
        for key, lane in self._entries:
            store.execute("UPDATE calls SET state = 0, attempts = attempts - 1 WHERE key = ?", (key,))
            store.figures.moved(lane, State.LEASED, State.READY)
