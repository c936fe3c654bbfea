"""Lanes: each is announced to one who seeks work, and wakes those who wait on it."""

from __future__ import annotations

import trio
import trio.testing

from faasd_py.queue.contract import Queue
from faasd_py.testing.queue_conformance.ground import (
    CALL,
    LANE,
    OTHER,
    PATIENCE,
    Ground,
    call,
    run,
    run_all,
    take,
    until,
)


class LaneConformance(Ground):
    """next_lane, leave, wait_ready."""

    async def test_a_lane_with_calls_is_announced_once(self) -> None:
        """Whoever gets it serves it: nobody else is told, however many calls come."""
        async with self.opened() as queue:
            for _ in range(3):
                await queue.put(CALL)
            with trio.fail_after(PATIENCE):
                assert await queue.next_lane() == LANE
            await queue.put(CALL)
            assert await _nobody(queue)

    async def test_a_seeker_is_woken_by_the_first_call(self) -> None:
        """next_lane waits, and learns of a lane that was not there before."""
        async with self.opened() as queue, trio.open_nursery() as nursery:
            found: list[str] = []

            async def seek() -> None:
                found.append(await queue.next_lane())

            nursery.start_soon(seek)
            await trio.testing.wait_all_tasks_blocked()
            await queue.put(call(lane=OTHER))
            await until(lambda: found == [OTHER])

    async def test_lanes_go_to_different_seekers(self) -> None:
        """Two lanes, two seekers: each serves one."""
        async with self.opened() as queue:
            await queue.put(CALL)
            await queue.put(call(lane=OTHER))
            with trio.fail_after(PATIENCE):
                assert {await queue.next_lane(), await queue.next_lane()} == {LANE, OTHER}

    async def test_a_lane_that_is_left_with_calls_is_announced_again(self) -> None:
        """Nobody's backlog is forgotten because its worker went away."""
        async with self.opened() as queue:
            await queue.put(CALL)
            with trio.fail_after(PATIENCE):
                queue.leave(await queue.next_lane())
                assert await queue.next_lane() == LANE

    async def test_a_lane_that_is_left_empty_is_announced_with_its_next_call(self) -> None:
        """Left while empty, it comes back when there is something to do, and not before."""
        async with self.opened() as queue:
            await queue.put(CALL)
            lane = await queue.next_lane()
            await run(queue)
            queue.leave(lane)
            assert await _nobody(queue)
            await queue.put(CALL)
            with trio.fail_after(PATIENCE):
                assert await queue.next_lane() == LANE

    async def test_leaving_what_nobody_serves_does_nothing(self) -> None:
        """Twice, or a lane that never was."""
        async with self.opened() as queue:
            queue.leave("nobody.knows")
            await queue.put(CALL)
            lane = await queue.next_lane()
            queue.leave(lane)
            queue.leave(lane)
            with trio.fail_after(PATIENCE):
                assert await queue.next_lane() == LANE
            assert await _nobody(queue)

    async def test_lanes_do_not_see_each_others_calls(self) -> None:
        """A call is leased from its own lane only."""
        async with self.opened() as queue:
            await queue.put(CALL)
            assert queue.lease_nowait(OTHER) is None
            assert (await take(queue, LANE)).call.lane == LANE

    async def test_wait_ready_takes_nothing(self) -> None:
        """Two who wait are told of one call, or one of them is; there is one lease."""
        async with self.opened() as queue:
            await queue.put(CALL)
            await queue.wait_ready(LANE)
            await queue.wait_ready(LANE)
            assert queue.lease_nowait(LANE) is not None
            assert queue.lease_nowait(LANE) is None

    async def test_many_waiters_get_many_calls(self) -> None:
        """As many calls as waiters: none of them stays behind."""
        async with self.opened() as queue:
            ran: list[str] = []

            async def one() -> None:
                ran.append((await take(queue)).id)

            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(one)
                await trio.testing.wait_all_tasks_blocked()
                for _ in range(10):
                    nursery.start_soon(queue.put, CALL)
            assert len(set(ran)) == 10

    async def test_the_figures_of_a_lane_follow_its_calls(self) -> None:
        """stats() counts READY and LEASED, and knows the oldest that waits."""
        async with self.opened() as queue:
            for _ in range(3):
                await queue.put(CALL)
            figures = queue.stats().lanes[LANE]
            assert (figures.ready, figures.leased) == (3, 0)
            assert figures.oldest_at is not None
            assert queue.stats().bytes == 3 * CALL.size
            await take(queue)
            figures = queue.stats().lanes[LANE]
            assert (figures.ready, figures.leased) == (2, 1)
            await run_all(queue, 2)
            figures = queue.stats().lanes[LANE]
            assert (figures.ready, figures.leased) == (0, 1)
            assert queue.trouble() is None


async def _nobody(queue: Queue) -> bool:
    """No lane is announced now."""
    with trio.move_on_after(0.05) as scope:
        await queue.next_lane()
    return scope.cancelled_caught
