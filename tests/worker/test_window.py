"""A lane's window: halved by a 429, opened again by successes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from faasd_py.worker.window import Window


def test_a_429_halves_it_down_to_one():
    """8, 4, 2, 1, and never 0."""
    window, sizes = Window(8), []
    for _ in range(5):
        window.narrow(window.epoch)
        sizes.append(window.size)
    assert sizes == [4, 2, 1, 1, 1]


def test_a_burst_of_429_counts_once():
    """Eight attempts that ran side by side are one piece of news."""
    window = Window(8)
    epoch = window.epoch
    for _ in range(8):
        window.narrow(epoch)
    assert window.size == 4


def test_a_window_full_of_successes_adds_one():
    """It takes about as many successes as the window is wide to widen it by one."""
    window = Window(8)
    window.narrow(0)
    for _ in range(4):
        window.widen()
    assert window.size == 4
    window.widen()
    assert window.size == 5
    for _ in range(100):
        window.widen()
    assert window.size == 8


def test_a_new_limit():
    """A wide open window follows the limit; a narrowed one stays narrow, but never over the limit."""
    window = Window(4)
    window.resize(10)
    assert window.size == 10
    window.narrow(0)
    window.resize(20)
    assert window.size == 5
    window.resize(2)
    assert window.size == 2


@given(st.integers(1, 100), st.lists(st.sampled_from(["widen", "narrow", "stale"]) | st.integers(1, 100)))
def test_always_between_one_and_the_limit(limit, moves):
    """Whatever happens, at least one call may run, and never more than the limit."""
    window = Window(limit)
    for move in moves:
        before = window.size
        if isinstance(move, int):
            window.resize(move)
        elif move == "widen":
            window.widen()
            assert window.size in {before, before + 1}
        elif move == "narrow":
            window.narrow(window.epoch)
            assert window.size == max(1, before // 2)
        else:
            window.narrow(window.epoch - 1)
            assert window.size == before
        assert 1 <= window.size <= window.limit
