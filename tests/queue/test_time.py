"""What time does: retention, windows, and clocks that are set while we run."""

# ruff: noqa: ASYNC110 - a bounded poll on a real condition

from __future__ import annotations

import pytest
import trio

from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import DONE, Verdict
from faasd_py.queue import alarms, memory, sqlite
from faasd_py.queue.contract import Filter
from faasd_py.queue.sqlite import upkeep
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
    BURY,
    CALL,
    FAILED,
    LANE,
    begin,
    call,
    run,
    stands,
    take,
    until,
)


class Clock:
    """A wall clock that stands still until it is set."""

    def __init__(self):
        self.now = 1.7e9

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=[sqlite, memory], ids=["sqlite", "memory"])
def opened(request, site, clock, monkeypatch):
    """Opens either queue on the test's clock, looked at every few milliseconds."""
    for name in ("WAKE", "SWEEP"):
        monkeypatch.setattr(upkeep, name, 0.01)
    for name in ("LONGEST", "IDLE"):
        monkeypatch.setattr(alarms, name, 0.01)
    return lambda **settings: request.param.open_queue(site(**settings), clock=clock)


async def until_gone(queue, identity):
    with trio.fail_after(10):
        while await queue.find(identity) is not None:
            await trio.sleep(0.005)


async def test_a_clock_that_leaps_forward_makes_due_what_is_due(opened, clock):
    """A box without a clock of its own learns the time after it started."""
    async with opened() as queue:
        accepted = await queue.put(call(not_before=clock.now + 86_400))
        clock.now += 90_000
        assert (await take(queue)).id == accepted.id


async def test_a_clock_that_steps_back_keeps_the_order(opened, clock):
    """What was accepted first comes first, and ids still grow."""
    async with opened() as queue:
        first = await queue.put(CALL)
        clock.now -= 5000
        second = await queue.put(CALL)
        assert second.id > first.id
        assert [(await take(queue)).id for _ in range(2)] == [first.id, second.id]


async def test_a_clock_that_steps_back_does_not_run_the_delayed_early(opened, clock):
    """The wall clock decides, whatever it says now."""
    async with opened() as queue:
        await queue.put(call(not_before=clock.now + 10))
        clock.now -= 100
        await trio.sleep(0.05)
        assert queue.stats().lanes[LANE].delayed == 1
        clock.now += 111
        await take(queue)


async def test_results_and_failures_are_kept_for_their_own_time(opened, clock):
    """Successes for a day, failures and dead letters for a week."""
    async with opened() as queue:
        done = await queue.put(CALL)
        await run(queue)
        failed = await queue.put(CALL)
        await run(queue, FAILED, DONE)
        dead = await queue.put(CALL)
        await run(queue, FAILED, BURY)
        clock.now += 24 * 3600 + 2
        await until_gone(queue, done.id)
        assert (await stands(queue, failed.id)).state is State.DONE
        assert (await stands(queue, dead.id)).state is State.DEAD
        clock.now += 6 * 24 * 3600
        await until_gone(queue, failed.id)
        await until_gone(queue, dead.id)
        assert queue.stats().lanes.get(LANE) is None or queue.stats().lanes[LANE].dead == 0


async def test_a_cancelled_call_is_remembered_for_a_while(opened, clock):
    """As long as a result."""
    async with opened() as queue:
        accepted = await queue.put(CALL)
        await queue.cancel(accepted.id)
        clock.now += 3600
        assert (await stands(queue, accepted.id)).state is State.CANCELLED
        clock.now += 24 * 3600
        await until_gone(queue, accepted.id)


async def test_waiting_calls_are_never_forgotten(opened, clock):
    """However old they are, also when they had an answer already."""
    async with opened() as queue:
        waits = await queue.put(CALL)
        await queue.settle(await begin(queue), Verdict(move=Move.RETRY, wait=1e9), FAILED)
        clock.now += 30 * 24 * 3600
        await trio.sleep(0.05)
        assert (await stands(queue, waits.id)).state is State.DELAYED


async def test_a_requeued_dead_letter_is_not_forgotten(opened, clock):
    """Its old date counts no longer."""
    async with opened() as queue:
        accepted = await queue.put(CALL)
        await run(queue, FAILED, BURY)
        clock.now += 7 * 24 * 3600 - 10
        assert await queue.requeue(accepted.id) is State.DEAD
        clock.now += 3600
        await trio.sleep(0.05)
        assert (await take(queue)).id == accepted.id


async def test_idempotency_keys_are_free_after_the_window(opened, clock):
    """To the second."""
    async with opened(idempotency_window=100) as queue:
        first = await queue.put(call(idempotency_key="k"))
        clock.now += 99
        assert (await queue.put(call(idempotency_key="k"))).duplicate
        clock.now += 2
        again = await queue.put(call(idempotency_key="k"))
        assert not again.duplicate
        assert again.id != first.id


async def test_many_that_are_due_together_all_come(opened, clock):
    """More than one step's worth."""
    async with opened() as queue:
        async with trio.open_nursery() as nursery:
            for _ in range(700):
                nursery.start_soon(queue.put, call(not_before=clock.now + 5))
        clock.now += 6
        await until(lambda: queue.stats().lanes[LANE].ready == 700)
        assert len({(await take(queue)).id for _ in range(700)}) == 700


async def test_many_that_are_to_be_forgotten_all_go(opened, clock):
    """More than one step's worth."""
    async with opened() as queue:
        async with trio.open_nursery() as nursery:
            for _ in range(600):
                nursery.start_soon(queue.put, CALL)
        last = ""
        for _ in range(600):
            last = (await run(queue, ANSWER)).id
        clock.now += 24 * 3600 + 2
        await until_gone(queue, last)
        assert await queue.records(Filter()) == []
