"""What a transaction changes in the figures of the lanes, written with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol

from faasd_py.core.lifecycle import State

READY, LEASED, DELAYED, DEAD, BYTES, KEPT = range(6)
_COLUMN: Final[dict[int, int | None]] = {
    State.READY: READY,
    State.LEASED: LEASED,
    State.DELAYED: DELAYED,
    State.DEAD: DEAD,
    State.DONE: None,
    State.CANCELLED: None,
}
_WAITS: Final = frozenset({State.READY, State.LEASED, State.DELAYED})
_WRITE: Final = (
    "INSERT INTO lanes VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
    " ready = ready + excluded.ready, leased = leased + excluded.leased, delayed = delayed + excluded.delayed,"
    " dead = dead + excluded.dead, bytes = bytes + excluded.bytes, kept = kept + excluded.kept"
)


class Named(Protocol):
    """A lane, as far as figures go."""

    @property
    def id(self) -> int: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102


class Figures:
    """Changes by lane since the last commit. `kept` is the bytes of all outcomes on record."""

    def __init__(self) -> None:
        self._changes: dict[int, tuple[str, list[int]]] = {}
        self.kept = 0

    def _of(self, lane: Named) -> list[int]:
        found = self._changes.get(lane.id)
        if found is None:
            found = self._changes[lane.id] = (lane.name, [0] * 6)
        return found[1]

    def entered(self, lane: Named, state: int, size: int) -> None:
        """A call is new."""
        change = self._of(lane)
        column = _COLUMN[state]
        assert column is not None  # noqa: S101 - nothing is put as finished
        change[column] += 1
        change[BYTES] += size

    def moved(self, lane: Named, was: State, now: State | None, *, size: int = 0, kept: int = 0) -> None:
        """A call went from one state to another (None: it is gone); `kept` is the change of its outcome's bytes."""
        change = self._of(lane)
        column = _COLUMN[was]
        if column is not None:
            change[column] -= 1
        column = None if now is None else _COLUMN[now]
        if column is not None:
            change[column] += 1
        change[BYTES] += size * ((now in _WAITS) - (was in _WAITS))
        change[KEPT] += kept

    def change_of_kept(self) -> int:
        """By how much `kept` changes when the transaction is committed."""
        return sum(change[KEPT] for _, change in self._changes.values())

    def found(self, lane: Named, state: State, size: int, kept: int) -> None:
        """A call stands there already."""
        change = self._of(lane)
        column = _COLUMN[state]
        if column is not None:
            change[column] += 1
        change[BYTES] += size * (state in _WAITS)
        change[KEPT] += kept

    def write(self, execute: Callable[..., Any]) -> None:
        """Add the changes to the table, inside the transaction."""
        for number, (name, change) in self._changes.items():
            if any(change):
                execute(_WRITE, (number, name, *change))

    def committed(self) -> None:
        """The transaction is on stable storage."""
        self.kept += self.change_of_kept()
        self._changes.clear()

    def clear(self) -> None:
        """Nothing of the transaction was kept."""
        self._changes.clear()
