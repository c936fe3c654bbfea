"""Dead letters: kept with their request and last answer, requeued, purged."""

from __future__ import annotations

from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import Verdict
from faasd_py.queue.contract import Filter, Queue
from faasd_py.testing.queue_conformance.ground import (
    BURY,
    CALL,
    FAILED,
    LANE,
    OTHER,
    Ground,
    begin,
    call,
    needs,
    run,
    stands,
    take,
)


class DeadLetterConformance(Ground):
    """DEAD is a place one comes back from."""

    async def test_a_buried_call_is_kept_with_request_answer_and_reason(self) -> None:
        """All that a person needs to understand it."""
        async with self.opened() as queue:
            needs(queue, "dead_letters", "inspect", "results")
            identity = await _bury(queue)
            record = await stands(queue, identity)
            assert (record.state, record.reason, record.status) == (State.DEAD, "attempts", 500)
            assert record.attempts == 1
            assert record.finished_at is not None
            assert await queue.request(identity) == CALL
            assert await queue.result(identity) == FAILED
            assert queue.stats().lanes[LANE].dead == 1
            assert queue.stats().bytes == 0

    async def test_a_dead_call_is_not_given_out(self) -> None:
        """Nor in the next life of the store."""
        async with self.opened() as queue:
            needs(queue, "dead_letters")
            await _bury(queue)
            await queue.flush()
            assert queue.lease_nowait(LANE) is None
            needs(queue, "durable")
        async with self.opened() as queue:
            assert queue.lease_nowait(LANE) is None
            assert queue.stats().lanes[LANE].dead == 1

    async def test_requeue_starts_afresh(self) -> None:
        """READY, attempts at zero, the same id."""
        async with self.opened() as queue:
            needs(queue, "dead_letters")
            identity = await _bury(queue)
            assert await queue.requeue(identity) is State.DEAD
            lease = await take(queue)
            assert (lease.id, lease.attempt, lease.call) == (identity, 1, CALL)
            assert queue.stats().lanes[LANE].dead == 0

    async def test_requeue_tells_what_it_found(self) -> None:
        """Only DEAD calls move; None is unknown."""
        async with self.opened() as queue:
            needs(queue, "dead_letters")
            accepted = await queue.put(CALL)
            assert await queue.requeue(accepted.id) is State.READY
            lease = await begin(queue)
            assert await queue.requeue(accepted.id) is State.LEASED
            await queue.settle(lease, Verdict(move=Move.DONE))
            assert await queue.requeue(accepted.id) is State.DONE
            assert await queue.requeue("nothing") is None

    async def test_requeue_all_takes_those_that_match(self) -> None:
        """One lane's, up to the limit."""
        async with self.opened() as queue:
            needs(queue, "dead_letters")
            for _ in range(4):
                await _bury(queue)
            await _bury(queue, OTHER)
            assert await queue.requeue_all(Filter(lane=LANE), limit=3) == 3
            assert await queue.requeue_all(Filter(lane=LANE)) == 1
            assert await queue.requeue_all(Filter(lane=LANE)) == 0
            assert queue.stats().lanes[LANE].ready == 4
            assert queue.stats().lanes[OTHER].dead == 1
            for _ in range(4):
                await run(queue)

    async def test_purge_removes_dead_letters(self) -> None:
        """With request and answer; the rest stays."""
        async with self.opened() as queue:
            needs(queue, "dead_letters")
            identity = await _bury(queue)
            waiting = await queue.put(CALL)
            assert await queue.purge(Filter(state=State.DEAD)) == 1
            assert await queue.find(identity) is None
            assert await queue.request(identity) is None
            assert await queue.result(identity) is None
            assert (await stands(queue, waiting.id)).state is State.READY
            assert queue.stats().lanes[LANE].dead == 0

    async def test_purge_takes_waiting_calls_but_never_a_running_one(self) -> None:
        """What a worker holds stays, and can be settled."""
        async with self.opened() as queue:
            needs(queue, "inspect")
            for _ in range(5):
                await queue.put(CALL)
            held = await take(queue)
            started = await begin(queue)
            assert await queue.purge(Filter(), limit=2) == 2
            assert await queue.purge(Filter()) == 1
            assert queue.lease_nowait(LANE) is None
            await queue.settle(held, BURY)
            await queue.settle(started, BURY, FAILED)
            assert (await stands(queue, held.id)).state is State.DEAD
            assert queue.stats().lanes[LANE].ready == 0
            assert queue.stats().bytes == 0

    async def test_a_requeued_call_may_die_again(self) -> None:
        """As often as it likes; the figures stay right."""
        async with self.opened() as queue:
            needs(queue, "dead_letters")
            identity = await _bury(queue)
            for _ in range(3):
                assert await queue.requeue(identity) is State.DEAD
                await run(queue, FAILED, BURY)
            assert queue.stats().lanes[LANE].dead == 1
            assert await queue.purge(Filter(lane=LANE)) == 1


async def _bury(queue: Queue, lane: str = LANE) -> str:
    accepted = await queue.put(call(lane=lane))
    await run(queue, FAILED, BURY, lane)
    return accepted.id
