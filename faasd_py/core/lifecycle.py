"""Pure. The law of a call's life, as a table.

             put      lease     done     retry     bury     release    due     requeue   cancel
    —        READY
    READY             LEASED                                                             CANCELLED
    LEASED                      DONE     DELAYED   DEAD     READY                        CANCELLED
    DELAYED                                                            READY             CANCELLED
    DEAD                                                                       READY     CANCELLED

`put_later` puts a call that asked for a not-before time: it starts as DELAYED.
`release` is what a crash, or a worker that hands its lease back, does.
`retry` with no wait passes through DELAYED and is due at once.
DONE and CANCELLED are final.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from faasd_py.core.errors import IllegalMove


class State(IntEnum):
    """Where a call stands. The numbers are stored: never renumber."""

    __hash__ = int.__hash__  # Enum's own is slow, and the table is asked for every call

    READY = 0
    LEASED = 1
    DELAYED = 2
    DONE = 3
    DEAD = 4
    CANCELLED = 5


class Move(IntEnum):
    """What may happen to a call."""

    __hash__ = int.__hash__

    PUT = 0
    PUT_LATER = 1
    LEASE = 2
    DONE = 3
    RETRY = 4
    BURY = 5
    RELEASE = 6
    DUE = 7
    REQUEUE = 8
    CANCEL = 9


TABLE: Final[dict[tuple[State | None, Move], State]] = {
    (None, Move.PUT): State.READY,
    (None, Move.PUT_LATER): State.DELAYED,
    (State.READY, Move.LEASE): State.LEASED,
    (State.READY, Move.CANCEL): State.CANCELLED,
    (State.LEASED, Move.DONE): State.DONE,
    (State.LEASED, Move.RETRY): State.DELAYED,
    (State.LEASED, Move.BURY): State.DEAD,
    (State.LEASED, Move.RELEASE): State.READY,
    (State.LEASED, Move.CANCEL): State.CANCELLED,
    (State.DELAYED, Move.DUE): State.READY,
    (State.DELAYED, Move.CANCEL): State.CANCELLED,
    (State.DEAD, Move.REQUEUE): State.READY,
    (State.DEAD, Move.CANCEL): State.CANCELLED,
}

FINAL: Final = frozenset({State.DONE, State.CANCELLED})


def after(state: State | None, move: Move) -> State:
    """The state that `move` leads to from `state` (None: not yet in the queue).

    Raises:
        IllegalMove: the table has no such square; the text names the move and the state.
    """
    try:
        return TABLE[state, move]
    except KeyError:
        where = "a call that is not in the queue" if state is None else f"a call that is {state.name}"
        raise IllegalMove(f"cannot {move.name.lower()} {where}") from None
