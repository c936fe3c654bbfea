"""The watch wakes when it must, and otherwise sleeps."""

from __future__ import annotations

from math import inf

import trio
from trio.testing import MockClock

from faasd_py.worker.watch import Watch


class Timed:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired: list[float] = []

    def expire(self) -> None:
        self.expired.append(trio.current_time())
        self.deadline = inf


async def test_each_at_its_time(nursery, autojump_clock: MockClock):
    """In whatever order they are armed, before the watch runs and while it does; those without a deadline never."""
    running = {Timed(5), Timed(inf)}
    watch = Watch(running)
    watch.arm(5)
    nursery.start_soon(watch.run)
    await trio.sleep(1)
    for deadline in (30, 2, 7, 2.5, 29):
        one = Timed(deadline)
        running.add(one)
        watch.arm(deadline)
    await trio.sleep(100)
    assert sorted(moment for one in running for moment in one.expired) == [2, 2.5, 5, 7, 29, 30]


async def test_one_that_is_over_already(nursery, autojump_clock: MockClock):
    """A deadline in the past is now; a run that has left is not asked."""
    running = {Timed(10)}
    watch = Watch(running)
    nursery.start_soon(watch.run)
    watch.arm(10)
    (gone,) = running
    running.clear()
    await trio.sleep(20)
    late = Timed(trio.current_time() - 5)
    running.add(late)
    watch.arm(late.deadline)
    await trio.sleep(1)
    assert gone.expired == []
    assert late.expired == [20]


async def test_it_sleeps_between(nursery, autojump_clock: MockClock):
    """Deadlines further and further ahead do not wake it one by one."""
    running: set[Timed] = set()
    watch = Watch(running)
    looks = []
    look = watch._look
    watch._look = lambda: (looks.append(1), look())
    nursery.start_soon(watch.run)
    for _ in range(1000):
        one = Timed(trio.current_time() + 60)
        running.add(one)
        watch.arm(one.deadline)
        await trio.sleep(0.1)
        running.remove(one)
    await trio.sleep(1000)
    assert len(looks) <= 4
