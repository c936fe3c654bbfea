"""A stop: nothing new is taken, what runs may finish, what does not is handed back, and nothing can make it hang."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from faasd_py.core.durations import Duration
from faasd_py.core.errors import QueueUnavailable
from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import Outcome
from tests.worker.fakes import Shop, answers, takes


async def opened(nursery, **settings) -> tuple[Shop, trio.Event]:
    """Workers, and an event that is set when `run` has returned."""
    house, over = Shop(**settings), trio.Event()

    async def run(task_status):
        await house.workers.run(task_status=task_status)
        over.set()

    await nursery.start(run)
    return house, over


async def test_nothing_to_do(nursery, autojump_clock: MockClock):
    """An idle house is empty at once, and run returns."""
    house, over = await opened(nursery)
    await house.workers.drain(30)
    await over.wait()
    assert trio.current_time() == 0
    assert house.messenger.closed == 1


async def test_idle_lanes_are_left_at_once(nursery, autojump_clock: MockClock):
    """Workers that wait for calls do not hold up a stop."""
    house, over = await opened(nursery)
    house.registry.add(answers(200))
    await house.queue.ended(*[house.put() for _ in range(20)])
    await house.workers.drain(30)
    await over.wait()
    assert trio.current_time() < 0.1
    assert house.queue.served == set()


async def test_running_calls_finish(nursery, autojump_clock: MockClock):
    """Within the grace they end as if nothing were; waiting calls stay READY."""
    house, over = await opened(nursery)
    house.registry.add(takes(5), max_inflight=2)
    entries = [house.put() for _ in range(6)]
    await trio.sleep(1)
    await house.workers.drain(30)
    await over.wait()
    assert trio.current_time() == pytest.approx(5, abs=0.1)
    assert [one.state for one in entries] == [State.DONE] * 2 + [State.READY] * 4
    assert [one.attempts for one in entries] == [1, 1, 0, 0, 0, 0]


async def test_what_does_not_finish_is_handed_back(nursery, autojump_clock: MockClock):
    """When the grace is over attempts are stopped, and their calls are READY again; the attempt counts."""
    house, over = await opened(nursery)
    function = house.registry.add(takes(1000), exec_timeout=Duration(0))
    entries = [house.put() for _ in range(3)]
    await trio.sleep(1)
    await house.workers.drain(4)
    await over.wait()
    assert trio.current_time() == pytest.approx(5, abs=0.1)
    assert {(one.state, one.attempts, one.verdicts[-1].move) for one in entries} == {
        (State.READY, 1, Move.RELEASE)
    }
    assert function.runtime.cancelled == 3
    assert function.meter.inflight == 0


async def test_a_timeout_during_the_grace(nursery, autojump_clock: MockClock):
    """exec_timeout holds to the end."""
    house, over = await opened(nursery)
    house.registry.add(takes(1000), exec_timeout=Duration(3))
    entry = house.put()
    await trio.sleep(1)
    await house.workers.drain(30)
    await over.wait()
    assert (entry.state, entry.outcomes[-1].status) == (State.DELAYED, 504)
    assert trio.current_time() == pytest.approx(3, abs=0.1)


async def test_a_second_drain_has_less_patience(nursery, autojump_clock: MockClock):
    """Whoever asks again with grace 0 does not wait for the first."""
    house, over = await opened(nursery)
    house.registry.add(takes(1000), exec_timeout=Duration(0))
    entry = house.put()
    await trio.sleep(1)
    nursery.start_soon(house.workers.drain, 500)
    await trio.sleep(1)
    await house.workers.drain(0)
    await over.wait()
    assert trio.current_time() == pytest.approx(2, abs=0.1)
    assert entry.state is State.READY


async def test_a_drain_that_is_cancelled_may_be_asked_for_again(nursery, autojump_clock: MockClock):
    """The daemon's own patience ends a drain; the next one finishes it."""
    house, over = await opened(nursery)
    house.registry.add(takes(1000), exec_timeout=Duration(0))
    entry = house.put()
    await trio.sleep(1)
    with trio.move_on_after(5):
        await house.workers.drain(500)
    await house.workers.drain(0)
    await over.wait()
    assert entry.state is State.READY


async def test_a_function_that_will_not_end(nursery, autojump_clock: MockClock, caplog):
    """A runtime that takes for ever to clean up is left behind in the end, and said so."""

    async def stubborn(invocation, reply):
        try:
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(deadline=trio.current_time() + 500, shield=True):
                await trio.sleep(100)

    house, over = await opened(nursery)
    house.registry.add(stubborn)
    entry = house.put()
    await trio.sleep(1)
    await house.workers.drain(2)
    assert trio.current_time() == pytest.approx(13, abs=0.1)
    assert entry.id in caplog.text
    await over.wait()


async def test_a_paused_lane(nursery, autojump_clock: MockClock):
    """A lane that waits after a failure, or for an ordered call's retry, leaves at once."""
    house, over = await opened(nursery)
    house.registry.add(answers(500), ordered=True)
    house.registry.add(answers(200), name="unlucky")
    house.queue.broken = [QueueUnavailable("disk full", retry_after=1000)]
    unlucky = house.put("unlucky")
    await house.queue.until(lambda: unlucky.verdicts)
    ordered = house.put()
    await house.queue.until(lambda: ordered.verdicts)
    await wait_all_tasks_blocked()
    before = trio.current_time()
    await house.workers.drain(30)
    await over.wait()
    assert trio.current_time() == before
    assert ordered.state is unlucky.state is State.READY


async def test_lanes_that_wait_for_a_slot(nursery, autojump_clock: MockClock):
    """Whoever waits for a slot leaves without one, and no slot is lost."""
    house, over = await opened(nursery, workers={"max_inflight": 1})
    for name in "abc":
        house.registry.add(takes(5), name=name)
        house.put(name)
    await trio.sleep(1)
    await house.workers.drain(30)
    await over.wait()
    assert trio.current_time() == pytest.approx(5, abs=0.1)
    assert house.workers._pools.of("").used == 0
    assert sorted(one.state for one in house.queue.entries.values()) == [State.READY, State.READY, State.DONE]


async def test_deliveries_are_handed_back_too(nursery, autojump_clock: MockClock):
    """A callback under way when the grace ends is sent again after the next start."""
    house, over = await opened(nursery)
    house.registry.add(answers(200))

    async def hang(_):
        await trio.sleep(10_000)
        return Outcome(status=200)

    house.messenger.answer = hang
    await house.queue.ended(house.put(callback_url="http://h/"))
    await house.queue.until(lambda: house.messenger.sent)
    await house.workers.drain(1)
    await over.wait()
    (delivery,) = house.queue.by_lane("callback:")
    assert (delivery.state, delivery.attempts) == (State.READY, 1)


async def test_cancelled_from_outside(autojump_clock: MockClock):
    """A hard stop leaves at once; the calls stay LEASED, as after a crash."""
    house = Shop()
    house.registry.add(takes(1000))
    entry = house.put()
    with trio.move_on_after(5) as scope:
        await house.workers.run()
    assert scope.cancelled_caught
    assert entry.state is State.LEASED


@pytest.mark.parametrize("moment", range(12))
async def test_a_drain_at_any_moment(nursery, moment):
    """Whatever the workers are doing when the stop comes: every call is READY, DELAYED or at its end, and run returns."""
    house, over = await opened(nursery)
    house.registry.add(answers(200, 500, 200), name="a", max_inflight=2)
    house.registry.add(answers(200), name="b", ordered=True)
    for number in range(10):
        house.put("ab"[number % 2], callback_url="http://h/" if number % 3 else None)
    for _ in range(moment):
        await trio.lowlevel.checkpoint()
    with trio.fail_after(5):
        await house.workers.drain(0)
        await over.wait()
    assert State.LEASED not in {one.state for one in house.queue.entries.values()}
    assert house.workers._pools.of("").used == house.workers._delivery_slots.used == 0
