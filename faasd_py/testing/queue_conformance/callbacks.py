"""The outbox: a callback is put by the settlement, in the same transaction."""

from __future__ import annotations

import trio

from faasd_py.core.call import Call
from faasd_py.core.outcome import DONE
from faasd_py.queue.contract import Filter
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
    BURY,
    CALL,
    FAILED,
    PATIENCE,
    Ground,
    begin,
    needs,
    take,
)

OUTBOX = "callback:box:80"


def callback(origin: str) -> Call:
    """A delivery."""
    return Call(lane=OUTBOX, target=b"/done", host=b"box", body=b"answer", call_id="caller", origin=origin)


class CallbackConformance(Ground):
    """Outcome and callback are one."""

    async def test_a_settlement_puts_its_callback(self) -> None:
        """It comes out of its own lane, as it was given."""
        async with self.opened() as queue:
            accepted = await queue.put(CALL)
            await queue.settle(await begin(queue), DONE, ANSWER, callback(accepted.id))
            with trio.fail_after(PATIENCE):
                assert await queue.next_lane() in {OUTBOX, CALL.lane}
            lease = await take(queue, OUTBOX)
            assert lease.call == callback(accepted.id)
            assert (lease.call_id, lease.attempt) == ("caller", 1)
            assert lease.id != accepted.id

    async def test_a_dead_letter_may_call_back_too(self) -> None:
        """The failure URL is told of it."""
        async with self.opened() as queue:
            accepted = await queue.put(CALL)
            await queue.settle(await begin(queue), BURY, FAILED, callback(accepted.id))
            assert (await take(queue, OUTBOX)).call.origin == accepted.id

    async def test_callbacks_are_taken_when_the_queue_is_full(self) -> None:
        """What was accepted must be able to end."""
        async with self.opened(max_depth=1) as queue:
            accepted = await queue.put(CALL)
            await queue.settle(await begin(queue), DONE, ANSWER, callback(accepted.id))
            assert (await take(queue, OUTBOX)).call.origin == accepted.id

    async def test_outcome_and_callback_survive_together(self) -> None:
        """Whatever the moment of the crash: both, or neither and the call runs again."""
        async with self.opened() as queue:
            needs(queue, "durable", "inspect")
            accepted = await queue.put(CALL)
            await queue.settle(await begin(queue), DONE, ANSWER, callback(accepted.id))
            async with self.open_after_crash(self.site()) as later:
                delivered = len(await later.records(Filter(lane=OUTBOX)))
                ready = later.stats().lanes[CALL.lane].ready if CALL.lane in later.stats().lanes else 0
                assert (delivered, ready) in {(1, 0), (0, 1)}

    async def test_after_a_flush_the_callback_is_safe(self) -> None:
        """A crash then loses neither."""
        async with self.opened() as queue:
            needs(queue, "durable")
            accepted = await queue.put(CALL)
            await queue.settle(await begin(queue), DONE, ANSWER, callback(accepted.id))
            await queue.flush()
            async with self.open_after_crash(self.site()) as later:
                assert (await take(later, OUTBOX)).call == callback(accepted.id)
                assert later.lease_nowait(CALL.lane) is None
