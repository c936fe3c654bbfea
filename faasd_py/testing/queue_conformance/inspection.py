"""What a person sees: records, pages, the state of each call at any moment."""

from __future__ import annotations

import time

from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import DONE, Verdict
from faasd_py.queue.contract import Filter
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
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


class InspectionConformance(Ground):
    """find, records, request."""

    async def test_a_record_follows_the_call(self) -> None:
        """READY, LEASED before and after the start, DELAYED, DONE, each with its figures."""
        async with self.opened() as queue:
            needs(queue, "inspect", "delay")
            identity = (await queue.put(call(accepted_at=1.7e9, callback_url="http://a/b"))).id
            record = await stands(queue, identity)
            assert (record.state, record.attempts, record.lane) == (State.READY, 0, LANE)
            assert (record.accepted_at, record.callback_url) == (1.7e9, "http://a/b")
            assert record.size == CALL.size
            lease = await take(queue)
            record = await stands(queue, identity)
            assert (record.state, record.attempts) == (State.LEASED, 0)
            await queue.start(lease)
            record = await stands(queue, identity)
            assert (record.state, record.attempts) == (State.LEASED, 1)
            assert record.started_at is not None
            await queue.settle(lease, Verdict(move=Move.RETRY, wait=60, reason="status"), FAILED)
            record = await stands(queue, identity)
            assert (record.state, record.attempts, record.status) == (State.DELAYED, 1, 500)
            assert record.reason == "status"
            assert record.due_at is not None

    async def test_the_history_tells_each_attempt(self) -> None:
        """Number, start, duration, status and reason, oldest first."""
        async with self.opened() as queue:
            needs(queue, "inspect")
            identity = (await queue.put(CALL)).id
            await run(queue, FAILED, Verdict(move=Move.RETRY, reason="status"))
            await run(queue, ANSWER, DONE)
            record = await stands(queue, identity)
            assert [(line.number, line.status, line.reason) for line in record.history] == [
                (1, 500, "status"),
                (2, 200, ""),
            ]
            assert record.history[0].started_at == FAILED.started_at
            assert record.history[0].duration == FAILED.duration

    async def test_a_long_history_is_bounded(self) -> None:
        """The newest attempts are told, the count is right."""
        async with self.opened() as queue:
            needs(queue, "inspect")
            identity = (await queue.put(CALL)).id
            for _ in range(60):
                await run(queue, FAILED, Verdict(move=Move.RETRY))
            record = await stands(queue, identity)
            assert record.attempts == 60
            assert 5 <= len(record.history) <= 50
            assert record.history[-1].number == 60

    async def test_a_call_is_found_by_the_callers_id_too(self) -> None:
        """The newest one that has it."""
        async with self.opened() as queue:
            needs(queue, "inspect")
            await queue.put(call(call_id="same"))
            newest = await queue.put(call(call_id="same"))
            assert (await stands(queue, "same")).id == newest.id
            assert (await stands(queue, newest.id)).call_id == "same"

    async def test_what_is_not_there_is_none(self) -> None:
        """Whatever the text looks like."""
        async with self.opened() as queue:
            needs(queue, "inspect")
            for text in (
                "",
                "x",
                "é",
                "0" * 36,
                "01a20be2-b296-7000-8352-8f3bed41398d",
                "'; DROP TABLE calls",
            ):
                assert await queue.find(text) is None
                assert await queue.request(text) is None
                assert await queue.result(text) is None

    async def test_records_come_newest_first_and_in_pages(self) -> None:
        """`before` goes on where the last page ended; together they are all, once."""
        async with self.opened() as queue:
            needs(queue, "inspect")
            ids = [(await queue.put(CALL)).id for _ in range(7)]
            seen: list[str] = []
            before = None
            while page := await queue.records(Filter(before=before), limit=3):
                assert len(page) <= 3
                seen += [record.id for record in page]
                before = page[-1].id
            assert seen == ids[::-1]

    async def test_records_can_be_narrowed_to_lane_and_state(self) -> None:
        """And what workers hold is LEASED, not READY."""
        async with self.opened() as queue:
            needs(queue, "inspect", "delay", "dead_letters")
            await queue.put(CALL)
            dead = await run(queue, FAILED, BURY)
            await queue.put(CALL)
            held = await take(queue)
            await queue.put(CALL)
            started = await begin(queue)
            ready = await queue.put(CALL)
            other = await queue.put(call(lane=OTHER))
            later = await queue.put(call(not_before=time.time() + 60))

            async def ids(**which: object) -> list[str]:
                return [record.id for record in await queue.records(Filter(**which))]  # type: ignore[arg-type]

            assert await ids(lane=LANE, state=State.READY) == [ready.id]
            assert await ids(state=State.LEASED) == [started.id, held.id]
            assert await ids(state=State.DEAD) == [dead.id]
            assert await ids(state=State.DELAYED) == [later.id]
            assert await ids(lane=OTHER) == [other.id]
            assert await ids(lane="nobody.knows") == []
            assert len(await ids(lane=LANE)) == 5

    async def test_the_request_is_kept_while_the_call_waits(self) -> None:
        """As it was put."""
        async with self.opened() as queue:
            needs(queue, "inspect")
            accepted = await queue.put(CALL)
            assert await queue.request(accepted.id) == CALL
            await take(queue)
            assert await queue.request(accepted.id) == CALL

    async def test_one_call_can_be_forgotten(self) -> None:
        """Waiting or finished, with its result; not while a worker has it; None is unknown."""
        async with self.opened() as queue:
            needs(queue, "inspect", "results")
            done = await queue.put(CALL)
            await run(queue)
            waiting = await queue.put(CALL)
            assert await queue.forget(done.id) is State.DONE
            assert await queue.find(done.id) is None
            assert await queue.result(done.id) is None
            assert await queue.forget(waiting.id) is State.READY
            assert queue.lease_nowait(LANE) is None
            assert queue.stats().bytes == 0
            held = await queue.put(CALL)
            lease = await take(queue)
            assert await queue.forget(held.id) is State.LEASED
            await queue.settle(lease, DONE)
            assert await queue.forget("nothing") is None
