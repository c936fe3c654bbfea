"""Idempotency keys: the first call's receipt again, nothing put twice."""

from __future__ import annotations

import trio

from faasd_py.core.errors import IdempotencyConflict
from faasd_py.queue.contract import Accepted, Queue
from faasd_py.testing.queue_conformance.ground import LANE, OTHER, Ground, call, needs, run, take

KEYED = call(idempotency_key="k", fingerprint=b"1")


class DedupConformance(Ground):
    """The window, the fingerprint, the lane."""

    async def test_the_same_key_gives_the_first_receipt(self) -> None:
        """Nothing is put, and the ids are the first call's."""
        async with self.opened() as queue:
            needs(queue, "dedup")
            first = await queue.put(KEYED)
            second = await queue.put(KEYED)
            assert (second.id, second.call_id, second.duplicate) == (first.id, first.call_id, True)
            await take(queue)
            assert queue.lease_nowait(LANE) is None

    async def test_the_callers_id_of_the_first_call_is_told_again(self) -> None:
        """Whatever X-Call-Id the second one came with."""
        async with self.opened() as queue:
            needs(queue, "dedup")
            await queue.put(call(idempotency_key="k", fingerprint=b"1", call_id="first"))
            second = await queue.put(call(idempotency_key="k", fingerprint=b"1", call_id="second"))
            assert second.call_id == "first"

    async def test_another_fingerprint_is_a_conflict(self) -> None:
        """IdempotencyConflict, and nothing is put."""
        async with self.opened() as queue:
            needs(queue, "dedup")
            await queue.put(KEYED)
            assert await _conflicts(queue)
            await take(queue)
            assert queue.lease_nowait(LANE) is None
            assert queue.stats().lanes[LANE].ready == 0

    async def test_keys_belong_to_their_lane(self) -> None:
        """The same key of another function is another key."""
        async with self.opened() as queue:
            needs(queue, "dedup")
            await queue.put(KEYED)
            other = await queue.put(call(lane=OTHER, idempotency_key="k", fingerprint=b"2"))
            assert not other.duplicate

    async def test_the_key_outlives_the_call(self) -> None:
        """A call that is done is not run again within the window, nor in the next life of the store."""
        async with self.opened() as queue:
            needs(queue, "dedup")
            first = await queue.put(KEYED)
            await run(queue)
            assert (await queue.put(KEYED)).id == first.id
            needs(queue, "durable")
        async with self.opened() as queue:
            again = await queue.put(KEYED)
            assert (again.id, again.duplicate) == (first.id, True)

    async def test_the_key_is_free_again_after_the_window(self) -> None:
        """A window of nothing: each call is the first."""
        async with self.opened(idempotency_window=0) as queue:
            needs(queue, "dedup")
            first = await queue.put(KEYED)
            second = await queue.put(KEYED)
            assert not second.duplicate
            assert second.id != first.id

    async def test_only_one_of_many_at_once_is_put(self) -> None:
        """Also when they are written together."""
        async with self.opened() as queue:
            needs(queue, "dedup")
            receipts: list[Accepted] = []

            async def one() -> None:
                receipts.append(await queue.put(KEYED))

            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(one)
            assert len({receipt.id for receipt in receipts}) == 1
            assert sum(not receipt.duplicate for receipt in receipts) == 1
            assert queue.stats().lanes[LANE].ready == 1


async def _conflicts(queue: Queue) -> bool:
    try:
        await queue.put(call(idempotency_key="k", fingerprint=b"2"))
    except IdempotencyConflict:
        return True
    return False
