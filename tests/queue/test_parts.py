"""The small parts both queues are made of: ranks, alarms, lanes, a task beside a body."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.call import Call
from faasd_py.queue import rank
from faasd_py.queue.alarms import Alarms
from faasd_py.queue.beside import tasks_beside
from faasd_py.queue.entry import Entry, Phase
from faasd_py.queue.keys import Keys
from faasd_py.queue.lane import Lane
from faasd_py.queue.lanes import Lanes

PRIORITIES = st.integers(-10, 10)
TIMES = st.floats(0, 4e9)
KEYS = Keys(7)


def entry_in(lane, *, priority=0):
    key = KEYS.new(1.7e9)
    return Entry(key, KEYS.text(key), lane, rank.of_key(priority, key), Call(lane=lane.name), 10)


@given(PRIORITIES, PRIORITIES, TIMES, TIMES, st.integers(0, 1 << 62))
def test_ranks_order_by_priority_then_time(high, low, early, late, key):
    """The smaller rank goes first."""
    if high > low:
        assert rank.of_time(high, late, key) < rank.of_time(low, early, key)
    if rank.milliseconds(early) < rank.milliseconds(late):
        assert rank.of_time(low, early, key) < rank.of_time(low, late, key)


@given(st.integers(-1000, 1000), st.floats(-1e12, 1e12), st.integers(0, (1 << 63) - 1))
def test_every_rank_fits_into_the_index(priority, due, key):
    """63 bits, below the end, whatever was asked for."""
    assert 0 <= rank.of_time(priority, due, key) < rank.END
    assert 0 <= rank.of_key(priority, key) < rank.END


@given(TIMES)
def test_nothing_is_due_before_its_time(time):
    """Milliseconds are rounded up."""
    assert rank.milliseconds(time) / 1000 >= time - 1e-6


def test_alarms_come_in_order_and_once():
    """Earliest first; the pause is until the next, at most a second."""
    alarms = Alarms()
    assert alarms.pause(0) > 1
    assert alarms.set(5, 1)
    assert not alarms.set(9, 2)
    assert alarms.set(3, 3)
    assert list(alarms.passed(5)) == [3, 1]
    assert list(alarms.passed(5)) == []
    assert alarms.pause(8.75) == 0.25
    assert alarms.pause(0) == 1
    assert alarms.pause(10) == 0


def test_a_lane_gives_out_in_order_and_skips_what_was_withdrawn():
    """Count and bytes are of what is really at hand."""
    lane = Lane("a")
    entries = [entry_in(lane, priority=priority) for priority in (0, 5, 0, -5)]
    for entry in entries:
        lane.push(entry)
    lane.withdraw(entries[0])
    assert (lane.count, lane.bytes) == (3, 30)
    assert [lane.pop() for _ in range(4)] == [entries[1], entries[2], entries[3], None]
    assert (lane.count, lane.bytes) == (0, 0)


def test_a_withdrawn_entry_may_come_back():
    """It is given out once."""
    lane = Lane("a")
    entry = entry_in(lane)
    for _ in range(3):
        lane.push(entry)
        lane.withdraw(entry)
    lane.push(entry)
    assert lane.pop() is entry
    assert entry.phase is Phase.HELD
    assert lane.pop() is None


def test_many_withdrawn_entries_do_not_pile_up():
    """The heap is cleaned."""
    lane = Lane("a")
    for _ in range(2000):
        entry = entry_in(lane)
        lane.push(entry)
        lane.withdraw(entry)
    assert len(lane.heap) < 200


def test_a_lane_prints_what_it_holds():
    """For whoever reads a log."""
    assert repr(Lane("a")) == "<Lane a ready=0 at hand=0 leased=0>"


async def test_lanes_that_are_waited_for_are_not_forgotten():
    """Only what nobody serves, waits for or fills."""
    lanes = Lanes(Lane)
    lanes.get("idle")
    lanes.get("served").served = True
    lanes.get("filled").ready = 1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lanes.get("waited").lot.park)
        await trio.testing.wait_all_tasks_blocked()
        assert [lane.name for lane in lanes.forget_idle()] == ["idle"]
        nursery.cancel_scope.cancel()
    assert sorted(lanes.named) == ["filled", "served", "waited"]


async def test_the_bodys_own_error_comes_out_as_it_is():
    """Not in a group."""
    with pytest.raises(KeyError):
        async with tasks_beside() as nursery:
            nursery.start_soon(trio.sleep_forever)
            raise KeyError


async def test_a_failing_task_ends_the_body():
    """In a group, as trio has it."""

    async def fails():
        raise ValueError("broken")

    with pytest.RaisesGroup(ValueError):
        async with tasks_beside() as nursery:
            nursery.start_soon(fails)
            await trio.sleep_forever()


async def test_a_cancelled_body_is_cancelled():
    """The scope outside catches it."""
    with trio.CancelScope() as scope:
        async with tasks_beside() as nursery:
            nursery.start_soon(trio.sleep_forever)
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
