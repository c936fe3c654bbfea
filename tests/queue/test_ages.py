"""The oldest call at hand is known, whatever came and left in which order, without a look at all of them."""

from __future__ import annotations

import time

from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.call import Call
from faasd_py.queue import rank
from faasd_py.queue.entry import Entry, Phase
from faasd_py.queue.lane import Lane

STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "take", "withdraw", "return", "ask"]), st.integers(0, 1000)),
    max_size=200,
)


def make(lane, key, priority=0):
    return Entry(key, str(key), lane, rank.of_key(priority, key), Call(lane=lane.name), 10)


def scanned(lane):
    """What a look at all of them would say."""
    return min((item[1] for item in lane.heap if item[2].phase is Phase.WAITING), default=None)


@given(STEPS)
def test_whatever_happens(steps):
    """Puts of any priority, leases, withdrawals and returns in any order: what a scan would find, and bounded memory."""
    lane, keys, away = Lane("a"), iter(range(1, 10_000)), []
    for step, number in steps:
        waiting = [item[2] for item in lane.heap if item[2].phase is Phase.WAITING]
        if step == "put":
            lane.push(make(lane, next(keys), number % 21 - 10))
        elif step == "take" and (entry := lane.pop()):
            away.append(entry)
        elif step == "withdraw" and waiting:
            away.append(waiting[number % len(waiting)])
            lane.withdraw(away[-1])
        elif step == "return" and away:
            lane.push(away.pop(number % len(away)))
        elif step == "ask":
            assert lane.oldest_key() == scanned(lane)
        assert len(lane._ages) <= 2 * lane.count + 66
    assert lane.oldest_key() == scanned(lane)


def test_an_empty_lane_has_none():
    """Nor has one that was emptied."""
    lane = Lane("a")
    assert lane.oldest_key() is None
    lane.push(make(lane, 1))
    assert lane.pop().phase is Phase.HELD
    assert lane.oldest_key() is None


def test_one_that_is_never_reached_does_not_pile_up_the_others():
    """A call of low priority waits at the front for ever, thousands of others pass by."""
    lane = Lane("a")
    lane.push(make(lane, 1, priority=-5))
    for key in range(2, 5000):
        lane.push(make(lane, key))
        assert lane.pop().key == key
        assert lane.oldest_key() == 1
    assert len(lane._ages) <= 68


def test_it_is_no_scan():
    """With two hundred thousand calls at hand it takes as long as with a few."""
    lane = Lane("a")
    for key in range(1, 200_001):
        lane.push(make(lane, key, priority=key % 3))
    began = time.thread_time()
    for _ in range(1000):
        lane.pop()
        assert lane.oldest_key() == 1
    assert time.thread_time() - began < 0.5  # a scan of each would take ten seconds
