"""Everything at once, at random: failing queues, slow and broken functions, cancels, reloads. Nothing may be lost."""

from __future__ import annotations

import random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from faasd_py.config import WorkerSettings
from faasd_py.core.durations import Duration
from faasd_py.core.errors import FunctionUnavailable, QueueUnavailable
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome
from faasd_py.core.retry import RetryPolicy
from tests.worker.fakes import Shop, answers

ENDS = {State.DONE, State.DEAD, State.CANCELLED}
POLICY = RetryPolicy(attempts=6, min_wait=Duration(1), max_wait=Duration(5))


def moody(dice: random.Random):
    """A function that does something else each time."""

    async def behave(invocation, reply):
        mood = dice.randrange(8)
        if mood == 0:
            raise FunctionUnavailable("away")
        if mood == 1:
            raise ValueError("a bug")
        if mood == 2:
            await reply.start(200, b"", None)
            await reply.write(b"x" * dice.randrange(100))
            await trio.sleep(dice.random() * 20)
            return
        await trio.sleep(dice.random() * 3)
        await answers(dice.choice([200, 200, 200, 404, 429, 500, 503]))(invocation, reply)

    return behave


def receiver(dice: random.Random):
    async def deliver(_):
        await trio.sleep(dice.random() * 3)
        if dice.randrange(10) == 0:
            raise ValueError("a bug")
        return Outcome(status=dice.choice([200, 200, 500, 410, 301]))

    return deliver


async def trouble(house: Shop, dice: random.Random) -> None:
    """Bad weather: errors, cancels, reloads."""
    errors = (QueueUnavailable("full", retry_after=2), ValueError("surprise"))
    while True:
        await trio.sleep(dice.random())
        where = dice.choice([house.queue.broken, house.queue.broken_settles, house.queue.broken_waits])
        if dice.randrange(3) == 0:
            where.append(dice.choice(errors))
        if dice.randrange(4) == 0 and (running := house.workers.running()):
            house.workers.cancel(dice.choice(running).id)
        if dice.randrange(4) == 0:
            limits = WorkerSettings(
                max_inflight=dice.randrange(1, 12), function_max_inflight=dice.randrange(1, 6)
            )
            house.workers.reconfigure(limits, house.callback_settings)


@pytest.mark.parametrize("seed", range(6))
async def test_nothing_is_lost(nursery, autojump_clock: MockClock, caplog, seed):
    """In the end every call and every callback is at its end, no slot is held, and a stop is quick."""
    dice = random.Random(seed)
    house = Shop(callback={"schedule": [Duration(1)] * 4, "max_inflight": 2})
    over = trio.Event()

    async def run(task_status):
        await house.workers.run(task_status=task_status)
        over.set()

    await nursery.start(run)
    for number, name in enumerate("abcd"):
        house.registry.add(
            moody(dice),
            name=name,
            retry=POLICY,
            exec_timeout=Duration(10),
            ordered=number == 0,
            max_inflight=number,
        )
    house.messenger.answer = receiver(dice)
    with trio.CancelScope() as weather:
        async with trio.open_nursery() as outside:
            outside.start_soon(trouble, house, dice)
            for index in range(150):
                await trio.sleep(dice.random() / 5)
                url = f"http://h{index % 5}/" if index % 2 else None
                house.put(dice.choice("abcdx"), callback_url=url, priority=dice.randrange(3))
            await trio.sleep(30)
            weather.cancel()
    for broken in (house.queue.broken, house.queue.broken_settles, house.queue.broken_waits):
        broken.clear()
    house.workers.reconfigure(WorkerSettings())
    with trio.fail_after(3600):
        await house.queue.until(lambda: all(one.state in ENDS for one in house.queue.entries.values()))
    await wait_all_tasks_blocked()
    assert house.workers.running() == []
    assert house.workers._pools.of("").used == house.workers._delivery_slots.used == 0
    assert all(function.meter.inflight == 0 for function in house.registry.functions.values())
    assert {one.attempts for one in house.queue.entries.values()} <= set(range(11))
    before = trio.current_time()
    await house.workers.drain(30)
    await over.wait()
    assert trio.current_time() == before
