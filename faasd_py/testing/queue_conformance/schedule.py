"""Delay, priority, and the fields a worker needs to let a call expire."""

from __future__ import annotations

import time

from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import DONE, Verdict
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
    CALL,
    FAILED,
    LANE,
    Ground,
    begin,
    call,
    needs,
    stands,
    take,
    until_state,
)


class ScheduleConformance(Ground):
    """When, and in what order."""

    async def test_a_delayed_call_waits_for_its_time(self) -> None:
        """DELAYED and not given out before; READY after."""
        async with self.opened() as queue:
            needs(queue, "delay")
            due = time.time() + 0.15
            accepted = await queue.put(call(not_before=due))
            assert queue.lease_nowait(LANE) is None
            assert queue.stats().lanes[LANE].delayed == 1
            lease = await take(queue)
            assert lease.id == accepted.id
            assert time.time() >= due - 0.002
            assert queue.stats().lanes[LANE].delayed == 0

    async def test_a_time_that_is_past_is_no_delay(self) -> None:
        """not_before in the past: READY at once."""
        async with self.opened() as queue:
            needs(queue, "delay")
            accepted = await queue.put(call(not_before=time.time() - 10))
            assert queue.stats().lanes[LANE].delayed == 0
            assert (await take(queue)).id == accepted.id

    async def test_delays_survive_a_restart(self) -> None:
        """A delayed call of a durable store is due in the next life too."""
        async with self.opened() as queue:
            needs(queue, "delay", "durable")
            accepted = await queue.put(call(not_before=time.time() + 0.2))
        async with self.opened() as queue:
            assert queue.stats().lanes[LANE].delayed == 1
            assert (await take(queue)).id == accepted.id

    async def test_delayed_calls_come_in_the_order_they_are_due(self) -> None:
        """The later put may be the earlier due."""
        async with self.opened() as queue:
            needs(queue, "delay")
            now = time.time()
            late = await queue.put(call(not_before=now + 0.3))
            soon = await queue.put(call(not_before=now + 0.1))
            assert [(await take(queue)).id for _ in range(2)] == [soon.id, late.id]

    async def test_a_retry_waits_as_long_as_the_verdict_says(self) -> None:
        """DELAYED with its due time on record, then READY with the next attempt."""
        async with self.opened() as queue:
            needs(queue, "delay", "inspect")
            accepted = await queue.put(CALL)
            before = time.time()
            await queue.settle(
                await begin(queue), Verdict(move=Move.RETRY, wait=0.1, reason="status"), FAILED
            )
            record = await stands(queue, accepted.id)
            assert record.state in {State.DELAYED, State.READY}
            if record.state is State.DELAYED:
                assert record.due_at is not None
                assert before + 0.09 <= record.due_at <= time.time() + 0.11
            lease = await take(queue)
            assert lease.attempt == 2
            assert time.time() >= before + 0.1

    async def test_the_higher_priority_comes_first(self) -> None:
        """Priority orders a lane, time orders within a priority."""
        async with self.opened() as queue:
            needs(queue, "priority")
            wanted = {}
            for priority in (0, -10, 10, 0, 3, 10):
                accepted = await queue.put(call(priority=priority))
                wanted[accepted.id] = priority
            order = [(await take(queue)).id for _ in wanted]
            assert [wanted[identity] for identity in order] == [10, 10, 3, 0, 0, -10]
            for priority in (10, 0):
                same = [identity for identity in order if wanted[identity] == priority]
                assert same == sorted(same)

    async def test_a_high_priority_overtakes_a_long_backlog(self) -> None:
        """Also when the backlog is longer than what a backend keeps at hand."""
        async with self.opened() as queue:
            needs(queue, "priority")
            for _ in range(30):
                await queue.put(CALL)
            urgent = await queue.put(call(priority=5))
            assert (await take(queue)).id == urgent.id

    async def test_the_time_of_expiry_travels_with_the_call(self) -> None:
        """The queue gives it out all the same; the worker judges."""
        async with self.opened() as queue:
            needs(queue, "expiry")
            await queue.put(call(expires_at=1.0))
            lease = await take(queue)
            assert lease.call.expires_at == 1.0
            await queue.settle(lease, Verdict(move=Move.BURY, reason="expired"))
            needs(queue, "inspect", "dead_letters")
            record = await stands(queue, lease.id)
            assert (record.state, record.reason, record.attempts) == (State.DEAD, "expired", 0)
            assert record.expires_at == 1.0

    async def test_options_of_a_call_come_back_unchanged(self) -> None:
        """Everything a worker decides by is there."""
        async with self.opened() as queue:
            fields = {
                "max_attempts": 3, "timeout": 1.5, "on_crash": False, "priority": -3, "accepted_at": 1.7e9,
                "callback_url": "http://a/b", "failure_url": "http://a/c", "origin": "x", "method": b"PUT",
                "expires_at": 4e9, "call_id": "é" * 10,
            }  # fmt: skip
            if not queue.capabilities.priority:
                del fields["priority"]
            if not queue.capabilities.expiry:
                del fields["expires_at"]
            await queue.put(call(**fields))
            lease = await take(queue)
            assert lease.call == call(**fields)
            await queue.start(lease)
            await queue.settle(lease, DONE, ANSWER)

    async def test_a_waiting_call_becomes_ready_by_itself(self) -> None:
        """Nobody has to ask the queue for time to pass."""
        async with self.opened() as queue:
            needs(queue, "delay", "inspect")
            accepted = await queue.put(call(not_before=time.time() + 0.05))
            await until_state(queue, accepted.id, State.READY)
