"""The window on a long backlog: bounded, in order, and nothing falls between it and the record."""

from __future__ import annotations

import random
import tracemalloc

import trio

from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import DONE, RELEASE, Verdict
from faasd_py.queue import rank
from faasd_py.queue.contract import Filter
from faasd_py.queue.sqlite import open_queue
from faasd_py.testing.queue_conformance.ground import CALL, LANE, call, take, until


async def fill(queue, count, **fields):
    """Put so many calls, many at once; their ids in order."""
    ids = []

    async def some(number):
        for _ in range(number):
            ids.append((await queue.put(call(**fields))).id)  # noqa: PERF401 - told as it is kept

    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(some, count // 100)
    return sorted(ids)


async def drain(queue):
    """Take and settle everything; ids in the order they came."""
    ids = []
    while queue.stats().lanes[LANE].ready:
        lease = await take(queue)
        ids.append(lease.id)
        await queue.settle(lease, DONE)
    return ids


async def test_a_backlog_beyond_the_window_comes_in_order(site):
    """Each once, oldest first, through many refills."""
    async with open_queue(site()) as queue:
        ids = await fill(queue, 5000)
        assert len(queue._near) <= 1024
        assert await drain(queue) == ids


async def test_puts_while_draining_are_neither_lost_nor_doubled(site):
    """Producers and workers at once, the backlog growing and shrinking over the window's edge."""
    async with open_queue(site()) as queue:
        put, ran = await fill(queue, 3000), []

        async def produce(seed):
            roll = random.Random(seed)
            for _ in range(200):
                put.append((await queue.put(call(priority=roll.randint(-10, 10)))).id)

        async def work():
            while True:
                lease = await take(queue)
                fate = random.random()
                if fate < 0.1:
                    await queue.settle(lease, RELEASE)
                    continue
                await queue.start(lease)
                if fate < 0.3:
                    await queue.settle(lease, Verdict(move=Move.RETRY, wait=random.choice((0, 0.01))))
                    continue
                ran.append(lease.id)
                await queue.settle(lease, DONE)

        async with trio.open_nursery() as workers:
            for _ in range(16):
                workers.start_soon(work)
            async with trio.open_nursery() as producers:
                for seed in range(20):
                    producers.start_soon(produce, seed)
            await until(lambda: len(ran) >= len(put))
            workers.cancel_scope.cancel()
        assert sorted(ran) == sorted(put)
        await queue.flush()
        assert queue.stats().bytes == 0


async def test_urgent_calls_overtake_a_backlog_beyond_the_window(site):
    """However far the window's end is from them."""
    async with open_queue(site()) as queue:
        await fill(queue, 3000)
        urgent = await fill(queue, 2000, priority=3)
        assert len(queue._near) <= 2048
        assert [(await take(queue)).id for _ in range(2000)] == urgent
        assert (await take(queue)).call.priority == 0


async def test_cancelling_and_purging_beyond_the_window(site):
    """Calls that are not at hand go as well, and do not come up later."""
    async with open_queue(site()) as queue:
        ids = await fill(queue, 3000)
        assert await queue.cancel(ids[-1]) is State.READY
        assert await queue.cancel(ids[0]) is State.READY
        assert await queue.purge(Filter(lane=LANE, state=State.READY), limit=500) == 500
        assert await drain(queue) == ids[1:2499]


async def test_many_lanes_share_the_memory(site):
    """Large bodies in many lanes: the window of each is small."""
    async with open_queue(site()) as queue:
        body = b"x" * 200_000
        for number in range(20):
            for _ in range(40):
                await queue.put(call(lane=f"f{number}.x", body=body))
        at_hand = sum(lane.bytes for lane in queue._lanes.named.values())
        assert at_hand <= 3 * (32 << 20)


async def test_memory_stays_flat_with_many_waiting(site):
    """Two hundred thousand waiting calls cost what two thousand cost."""
    async with open_queue(site()) as queue:
        await fill(queue, 2000)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            await fill(queue, 50_000)
            grown = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert len(queue._near) <= 1024
        assert grown < 12_000_000  # the ids that this test itself collects are most of it
        assert queue.stats().lanes[LANE].oldest_at is not None


async def test_idle_lanes_are_forgotten_and_found_again(site):
    """Callbacks go to any number of hosts; a lane without calls costs nothing for long."""
    async with open_queue(site()) as queue:
        await queue.put(CALL)
        await queue.settle(await take(queue), DONE)
        await queue.flush()
        queue.tidy()
        assert LANE not in queue.stats().lanes
        await queue.put(CALL)
        assert (await take(queue)).call == CALL


async def test_the_oldest_is_known_beyond_the_window(site):
    """An old call of low priority, behind thousands that are more urgent; also right after opening."""
    async with open_queue(site()) as queue:
        old = await queue.put(call(priority=-5))
        record = await queue.find(old.id)
        await trio.sleep(0.01)
        await fill(queue, 3000, priority=5)
        assert len(queue._near) < 3000
        assert queue.stats().lanes[LANE].oldest_at == record.accepted_at
    async with open_queue(site()) as queue:
        assert queue.stats().lanes[LANE].oldest_at == record.accepted_at
        await take(queue)
        assert queue.stats().lanes[LANE].oldest_at == record.accepted_at


def test_the_next_priority_is_above_every_rank_of_this_one():
    """Ranks of one priority lie together."""
    now = rank.of_time(3, 1.7e9, 5)
    assert rank.of_time(3, 4e12, 5) < rank.next_priority(now) <= rank.of_key(2, 0)
