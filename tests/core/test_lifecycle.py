"""The table of a call's life."""

from __future__ import annotations

import itertools

import pytest

from faasd_py.core.errors import IllegalMove
from faasd_py.core.lifecycle import FINAL, TABLE, Move, State, after


@pytest.mark.parametrize(("square", "state"), TABLE.items())
def test_every_square_of_the_table_leads_where_it_says(square, state):
    """`after` is the table."""
    assert after(*square) is state


@pytest.mark.parametrize(
    ("state", "move"),
    [square for square in itertools.product([None, *State], Move) if square not in TABLE],
)
def test_every_other_move_is_illegal_and_named(state, move):
    """The error names the move and the square."""
    with pytest.raises(IllegalMove) as raised:
        after(state, move)
    text = str(raised.value)
    assert move.name.lower() in text
    assert "not in the queue" in text if state is None else state.name in text


def test_final_states_are_never_left():
    """DONE and CANCELLED have no move."""
    assert {state for state in State if not any(square[0] is state for square in TABLE)} == FINAL


def test_every_state_can_be_reached_and_every_waiting_one_be_left():
    """No square is an island, none but the final ones a trap."""
    assert set(TABLE.values()) == set(State)
    assert {square[0] for square in TABLE} == {None, *State} - FINAL


def test_the_stored_numbers_never_change():
    """They are in files."""
    assert [(state.name, state.value) for state in State] == [
        ("READY", 0),
        ("LEASED", 1),
        ("DELAYED", 2),
        ("DONE", 3),
        ("DEAD", 4),
        ("CANCELLED", 5),
    ]


def test_only_a_worker_can_end_a_leased_call():
    """The moves out of LEASED are the verdicts."""
    assert {square[1] for square in TABLE if square[0] is State.LEASED} == {
        Move.DONE,
        Move.RETRY,
        Move.BURY,
        Move.RELEASE,
        Move.CANCEL,
    }
