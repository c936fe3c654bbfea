"""Cancelling: a call, in every state; and a task that waits, without losing anything."""

from __future__ import annotations

import time

import trio
import trio.testing

from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import RELEASE
from faasd_py.testing.queue_conformance.ground import (
    BURY,
    CALL,
    FAILED,
    LANE,
    Ground,
    begin,
    call,
    needs,
    run,
    stands,
    take,
    until,
)


class CancellationConformance(Ground):
    """cancel, and cancelled tasks."""

    async def test_a_ready_call_is_cancelled(self) -> None:
        """It is not given out, and the books say so."""
        async with self.opened() as queue:
            needs(queue, "cancel")
            accepted = await queue.put(CALL)
            assert await queue.cancel(accepted.id) is State.READY
            assert queue.lease_nowait(LANE) is None
            assert (await stands(queue, accepted.id)).state is State.CANCELLED
            figures = queue.stats()
            assert figures.lanes[LANE].ready == figures.bytes == 0

    async def test_a_delayed_call_is_cancelled(self) -> None:
        """Its time passes without it."""
        async with self.opened() as queue:
            needs(queue, "cancel", "delay")
            accepted = await queue.put(call(not_before=time.time() + 0.6))
            marker = await queue.put(call(not_before=time.time() + 0.7))
            assert await queue.cancel(accepted.id) is State.DELAYED
            assert (await take(queue)).id == marker.id
            assert queue.stats().lanes[LANE].delayed == 0

    async def test_a_dead_call_is_cancelled(self) -> None:
        """It leaves the dead letters."""
        async with self.opened() as queue:
            needs(queue, "cancel", "dead_letters")
            accepted = await queue.put(CALL)
            await run(queue, FAILED, BURY)
            assert await queue.cancel(accepted.id) is State.DEAD
            assert queue.stats().lanes[LANE].dead == 0
            assert await queue.requeue(accepted.id) is State.CANCELLED

    async def test_a_leased_call_is_left_to_its_worker(self) -> None:
        """Before and after the start; the lease stays good."""
        async with self.opened() as queue:
            needs(queue, "cancel")
            accepted = await queue.put(CALL)
            lease = await take(queue)
            assert await queue.cancel(accepted.id) is State.LEASED
            await queue.start(lease)
            assert await queue.cancel(accepted.id) is State.LEASED
            await queue.settle(lease, RELEASE)
            assert (await take(queue)).id == accepted.id

    async def test_too_late_and_unknown_are_told_apart(self) -> None:
        """DONE and CANCELLED are too late; None is unknown."""
        async with self.opened() as queue:
            needs(queue, "cancel")
            done = await queue.put(CALL)
            await run(queue)
            assert await queue.cancel(done.id) is State.DONE
            cancelled = await queue.put(CALL)
            await queue.cancel(cancelled.id)
            assert await queue.cancel(cancelled.id) is State.CANCELLED
            assert await queue.cancel("nothing") is None

    async def test_the_callers_id_cancels_every_waiting_call_that_has_it(self) -> None:
        """And no other."""
        async with self.opened() as queue:
            needs(queue, "cancel")
            for _ in range(3):
                await queue.put(call(call_id="same"))
            other = await queue.put(call(call_id="other"))
            assert await queue.cancel("same") is State.READY
            assert (await take(queue)).id == other.id
            assert queue.lease_nowait(LANE) is None

    async def test_dead_letters_of_the_same_callers_id_are_left_alone(self) -> None:
        """While another call with it waits; alone, the newest of them is meant."""
        async with self.opened() as queue:
            needs(queue, "cancel", "dead_letters")
            for _ in range(2):
                await queue.put(call(call_id="same"))
                await run(queue, FAILED, BURY)
            await queue.put(call(call_id="same"))
            assert await queue.cancel("same") is State.READY
            assert queue.stats().lanes[LANE].dead == 2
            assert await queue.cancel("same") is State.DEAD
            assert queue.stats().lanes[LANE].dead == 1

    async def test_a_cancelled_call_stays_cancelled(self) -> None:
        """In the next life of the store too."""
        async with self.opened() as queue:
            needs(queue, "cancel", "durable")
            accepted = await queue.put(CALL)
            await queue.cancel(accepted.id)
        async with self.opened() as queue:
            assert queue.lease_nowait(LANE) is None
            assert (await stands(queue, accepted.id)).state is State.CANCELLED

    async def test_a_cancelled_waiter_loses_no_call(self) -> None:
        """The call goes to the next who asks, whenever the first was cancelled."""
        async with self.opened() as queue:
            for _ in range(20):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(queue.wait_ready, LANE)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(queue.put, CALL)
                    nursery.cancel_scope.cancel()
                await queue.put(CALL)
                await run(queue)
            await until(lambda: queue.stats().lanes[LANE].leased == 0)

    async def test_a_waiter_that_is_cancelled_does_not_swallow_the_wake_up(self) -> None:
        """Two wait, one is cancelled as the call comes: the other gets it."""
        async with self.opened() as queue, trio.open_nursery() as nursery:
            got: list[str] = []

            async def worker() -> None:
                got.append((await take(queue)).id)

            with trio.CancelScope() as scope:
                async with trio.open_nursery() as doomed:
                    doomed.start_soon(queue.wait_ready, LANE)
                    await trio.testing.wait_all_tasks_blocked()
                    nursery.start_soon(worker)
                    await trio.testing.wait_all_tasks_blocked()
                    scope.cancel()
            accepted = await queue.put(CALL)
            await until(lambda: got == [accepted.id])

    async def test_a_cancelled_put_keeps_the_figures_right(self) -> None:
        """Kept or not, nobody was told; but what is counted is there."""
        async with self.opened() as queue:
            with trio.CancelScope() as scope:
                scope.cancel()
                await queue.put(CALL)
            await queue.put(CALL)
            await queue.flush()
            ready = queue.stats().lanes[LANE].ready
            assert ready in {1, 2}
            for _ in range(ready):
                await queue.settle(await begin(queue), RELEASE)
                await run(queue)
            await queue.flush()
            assert queue.lease_nowait(LANE) is None
            assert queue.stats().bytes == 0

    async def test_a_cancelled_seeker_leaves_the_lane_to_others(self) -> None:
        """next_lane took nothing unless it returned."""
        async with self.opened() as queue:
            with trio.move_on_after(0.01):
                await queue.next_lane()
            await queue.put(CALL)
            with trio.fail_after(10):
                assert await queue.next_lane() == LANE

    async def test_a_cancelled_start_can_be_released(self) -> None:
        """The lease is still held, and the call comes back."""
        async with self.opened() as queue:
            accepted = await queue.put(CALL)
            lease = await take(queue)
            with trio.CancelScope() as scope:
                scope.cancel()
                await queue.start(lease)
            await queue.settle(lease, RELEASE)
            assert (await take(queue)).id == accepted.id
