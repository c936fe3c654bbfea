"""The process dies: nothing that was accepted is lost, what was running is counted and runs again."""

from __future__ import annotations

import time

from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import DONE
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
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
)


class CrashConformance(Ground):
    """For durable backends."""

    async def test_what_was_accepted_is_there(self) -> None:
        """In its order, unchanged."""
        async with self.opened() as queue:
            needs(queue, "durable")
            ids = [(await queue.put(CALL)).id for _ in range(20)]
            async with self.open_after_crash(self.site()) as later:
                leases = [await take(later) for _ in ids]
                assert [lease.id for lease in leases] == ids
                assert all(lease.call == CALL and not lease.crashed for lease in leases)

    async def test_an_attempt_that_was_running_counts(self) -> None:
        """The poison guard: the next lease says that the one before was interrupted."""
        async with self.opened() as queue:
            needs(queue, "durable")
            accepted = await queue.put(CALL)
            await begin(queue)
            async with self.open_after_crash(self.site()) as later:
                lease = await take(later)
                assert (lease.id, lease.attempt, lease.crashed) == (accepted.id, 2, True)
                await later.start(lease)
                await later.settle(lease, DONE, ANSWER)
                if later.capabilities.inspect:
                    assert (await stands(later, lease.id)).attempts == 2

    async def test_a_lease_that_was_not_started_leaves_no_trace(self) -> None:
        """The call had not begun: it is READY with no attempt counted."""
        async with self.opened() as queue:
            needs(queue, "durable")
            await queue.put(CALL)
            await take(queue)
            async with self.open_after_crash(self.site()) as later:
                lease = await take(later)
                assert (lease.attempt, lease.crashed) == (1, False)

    async def test_every_crash_counts(self) -> None:
        """Start, die, start, die: three attempts begun."""
        async with self.opened() as queue:
            needs(queue, "durable")
            await queue.put(CALL)
            await begin(queue)
        async with self.opened() as queue:
            lease = await begin(queue)
            assert (lease.attempt, lease.crashed) == (2, True)
            async with self.open_after_crash(self.site()) as later:
                assert (await take(later)).attempt == 3

    async def test_what_was_settled_stays_settled(self) -> None:
        """After a flush, a crash brings nothing back."""
        async with self.opened() as queue:
            needs(queue, "durable", "inspect", "dead_letters")
            done = await queue.put(CALL)
            await run(queue)
            dead = await queue.put(CALL)
            await run(queue, FAILED, BURY)
            await queue.flush()
            async with self.open_after_crash(self.site()) as later:
                assert later.lease_nowait(LANE) is None
                assert (await stands(later, done.id)).state is State.DONE
                assert (await stands(later, dead.id)).state is State.DEAD

    async def test_figures_are_right_after_a_crash(self) -> None:
        """Counted as what they are now, without a scan."""
        async with self.opened() as queue:
            needs(queue, "durable", "delay", "dead_letters")
            for _ in range(5):
                await queue.put(CALL)
            await begin(queue)
            await run(queue, FAILED, BURY)
            await queue.put(call(not_before=time.time() + 60))
            await queue.flush()
            async with self.open_after_crash(self.site()) as later:
                figures = later.stats()
                lane = figures.lanes[LANE]
                assert (lane.ready, lane.leased, lane.delayed, lane.dead) == (4, 0, 1, 1)
                assert figures.bytes == 5 * CALL.size

    async def test_ids_go_on_after_a_crash(self) -> None:
        """A new call has a new id, greater than all before it."""
        async with self.opened() as queue:
            needs(queue, "durable")
            before = (await queue.put(CALL)).id
            async with self.open_after_crash(self.site()) as later:
                assert (await later.put(CALL)).id > before
