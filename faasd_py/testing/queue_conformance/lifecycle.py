"""put → lease → start → settle: nothing is lost, nothing is given twice, nothing is changed on the way."""

from __future__ import annotations

import trio

from faasd_py.core.errors import IllegalMove
from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import CANCEL, DONE, RELEASE, Verdict
from faasd_py.queue.contract import Queue, start_many
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
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


class LifecycleConformance(Ground):
    """The life cycle of a call."""

    async def test_a_call_comes_out_as_it_went_in(self) -> None:
        """What is leased equals what was put, under the id that put told."""
        async with self.opened() as queue:
            accepted = await queue.put(CALL)
            lease = await take(queue)
            assert lease.call == CALL
            assert lease.id == accepted.id == accepted.call_id == lease.call_id
            assert lease.attempt == 1
            assert not lease.crashed
            assert not accepted.duplicate

    async def test_the_callers_id_is_kept_beside_the_queues(self) -> None:
        """X-Call-Id may repeat; the queue's id never does."""
        async with self.opened() as queue:
            first = await queue.put(call(call_id="abc"))
            second = await queue.put(call(call_id="abc"))
            assert first.call_id == second.call_id == "abc"
            assert first.id != second.id
            assert (await take(queue)).call_id == "abc"

    async def test_a_leased_call_is_given_to_nobody_else(self) -> None:
        """A lease is exclusive until it is settled, however often one asks."""
        async with self.opened() as queue:
            await queue.put(CALL)
            await take(queue)
            assert queue.lease_nowait(LANE) is None

    async def test_done_is_the_end(self) -> None:
        """A settled call never comes back, also not in the next life of the store."""
        async with self.opened() as queue:
            await queue.put(CALL)
            await run(queue)
            await queue.flush()
            assert queue.lease_nowait(LANE) is None
        async with self.opened() as queue:
            assert queue.lease_nowait(LANE) is None
            assert sum(lane.ready + lane.leased for lane in queue.stats().lanes.values()) == 0

    async def test_calls_of_one_priority_come_in_the_order_they_were_put(self) -> None:
        """First in, first out, also beyond what a backend keeps at hand."""
        async with self.opened() as queue:
            ids = [(await queue.put(CALL)).id for _ in range(50)]
            assert [(await take(queue)).id for _ in ids] == ids

    async def test_a_released_call_is_at_once_ready_and_counts_no_attempt(self) -> None:
        """A worker that hands back a lease it never started leaves no trace."""
        async with self.opened() as queue:
            await queue.put(CALL)
            await queue.settle(await take(queue), RELEASE)
            lease = await take(queue)
            assert lease.attempt == 1
            assert lease.call == CALL

    async def test_a_released_attempt_that_had_started_counts(self) -> None:
        """An attempt counts when it starts."""
        async with self.opened() as queue:
            await queue.put(CALL)
            await queue.settle(await begin(queue), RELEASE)
            lease = await take(queue)
            assert lease.attempt == 2
            assert not lease.crashed

    async def test_several_attempts_begin_at_once(self) -> None:
        """`start_many`: each counts, and one that cannot begin says so and hinders no other."""
        async with self.opened() as queue:
            for _ in range(5):
                await queue.put(CALL)
            leases = [await take(queue) for _ in range(5)]
            await queue.start(leases[2])
            errors = await start_many(queue, leases)
            assert [type(error) for error in errors] == [type(None)] * 2 + [IllegalMove] + [type(None)] * 2
            for lease in leases:
                await queue.settle(lease, RELEASE)
            assert [(await take(queue)).attempt for _ in leases] == [2] * 5
            assert await start_many(queue, []) == []

    async def test_a_retry_comes_back_with_the_next_number(self) -> None:
        """RETRY with no wait is due at once, and the attempts add up."""
        async with self.opened() as queue:
            await queue.put(CALL)
            for number in (1, 2, 3):
                lease = await begin(queue)
                assert lease.attempt == number
                await queue.settle(lease, Verdict(move=Move.RETRY, reason="status"), FAILED)
            assert (await take(queue)).attempt == 4

    async def test_settling_twice_is_a_bug_and_says_so(self) -> None:
        """IllegalMove for a lease that was settled; the call stays where the first one put it."""
        async with self.opened() as queue:
            await queue.put(CALL)
            lease = await run(queue)
            for verdict in (DONE, RELEASE, CANCEL, Verdict(move=Move.RETRY)):
                await _refused(queue, lease, verdict)
            await queue.flush()
            assert queue.lease_nowait(LANE) is None

    async def test_only_moves_out_of_leased_settle(self) -> None:
        """A verdict that the table does not know leaves the lease as it was."""
        async with self.opened() as queue:
            await queue.put(CALL)
            lease = await take(queue)
            for move in (Move.PUT, Move.PUT_LATER, Move.LEASE, Move.DUE, Move.REQUEUE):
                await _refused(queue, lease, Verdict(move=move))
            await queue.start(lease)
            await queue.settle(lease, DONE, ANSWER)

    async def test_starting_twice_is_a_bug_and_says_so(self) -> None:
        """IllegalMove; the attempt counts once."""
        async with self.opened() as queue:
            await queue.put(CALL)
            lease = await begin(queue)
            try:
                await queue.start(lease)
            except IllegalMove:
                pass
            else:
                raise AssertionError("a second start was not refused")
            await queue.settle(lease, RELEASE)
            assert (await take(queue)).attempt == 2

    async def test_a_call_that_is_settled_as_cancelled_is_gone(self) -> None:
        """The worker's own CANCEL ends the call."""
        async with self.opened() as queue:
            accepted = await queue.put(CALL)
            await queue.settle(await begin(queue), CANCEL)
            await queue.flush()
            assert queue.lease_nowait(LANE) is None
            needs(queue, "inspect")
            assert (await stands(queue, accepted.id)).state is State.CANCELLED

    async def test_ten_thousand_calls_from_many_tasks(self) -> None:
        """Every call runs exactly once when nothing crashes, whoever puts and whoever works."""
        async with self.opened() as queue:
            put: list[str] = []
            ran: list[str] = []
            async with trio.open_nursery() as workers:
                for _ in range(20):
                    workers.start_soon(_work, queue, ran)
                async with trio.open_nursery() as producers:
                    for _ in range(100):
                        producers.start_soon(_produce, queue, put, 100)
                with trio.fail_after(60):
                    while len(ran) < len(put):
                        await trio.sleep(0.01)
                workers.cancel_scope.cancel()
            assert sorted(ran) == sorted(put)
            assert len(set(put)) == 10_000
            assert queue.stats().bytes == 0


async def _produce(queue: Queue, put: list[str], count: int) -> None:
    for _ in range(count):
        put.append((await queue.put(CALL)).id)  # noqa: PERF401 - each is told as soon as it is kept


async def _work(queue: Queue, ran: list[str]) -> None:
    while True:
        await queue.wait_ready(LANE)
        lease = queue.lease_nowait(LANE)
        if lease is None:
            await trio.lowlevel.checkpoint()
            continue
        await queue.start(lease)
        ran.append(lease.id)
        await queue.settle(lease, DONE, ANSWER)


async def _refused(queue: Queue, lease: object, verdict: Verdict) -> None:
    try:
        await queue.settle(lease, verdict)  # type: ignore[arg-type]
    except IllegalMove:
        return
    raise AssertionError(f"{verdict.move.name} was not refused")
