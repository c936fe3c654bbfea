"""Limits: depth and bytes, refused with the reason, and free again when something ends."""

from __future__ import annotations

import trio

from faasd_py.core.errors import QueueFull
from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import Verdict
from faasd_py.queue.contract import Queue
from faasd_py.testing.queue_conformance.ground import BURY, CALL, FAILED, LANE, Ground, begin, call, run


class PressureConformance(Ground):
    """QueueFull."""

    async def test_the_depth_is_bounded(self) -> None:
        """The refusal names the limit and asks to come again; what was in stays."""
        async with self.opened(max_depth=3) as queue:
            for _ in range(3):
                await queue.put(CALL)
            error = await _refusal(queue)
            assert "max_depth" in str(error)
            assert error.retry_after > 0
            assert queue.stats().lanes[LANE].ready == 3

    async def test_the_bytes_are_bounded(self) -> None:
        """By what waits, leased included."""
        async with self.opened(max_bytes=3 * CALL.size) as queue:
            for _ in range(3):
                await queue.put(CALL)
            assert "max_bytes" in str(await _refusal(queue))
            lease = await begin(queue)
            assert "max_bytes" in str(await _refusal(queue))
            await queue.settle(lease, BURY, FAILED)
            await queue.put(CALL)

    async def test_room_comes_back_with_each_end(self) -> None:
        """Done, dead: neither waits. A retry does."""
        async with self.opened(max_depth=1) as queue:
            await queue.put(CALL)
            await run(queue, FAILED, Verdict(move=Move.RETRY))
            await _refusal(queue)
            await run(queue)
            await queue.put(CALL)
            await run(queue, FAILED, BURY)
            await queue.put(CALL)

    async def test_many_at_once_never_exceed_the_limit(self) -> None:
        """Those that are being written count already."""
        async with self.opened(max_depth=10) as queue:
            outcomes: list[bool] = []

            async def one() -> None:
                try:
                    await queue.put(CALL)
                except QueueFull:
                    outcomes.append(False)
                else:
                    outcomes.append(True)

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(one)
            assert sum(outcomes) == 10
            assert queue.stats().lanes[LANE].ready == 10

    async def test_the_limit_holds_in_the_next_life(self) -> None:
        """What waits is counted when a durable store opens."""
        async with self.opened(max_depth=2) as queue:
            await queue.put(CALL)
            await queue.put(call(body=b"z" * 5000))
            size = queue.stats().bytes
            if not queue.capabilities.durable:
                return
        async with self.opened(max_depth=2) as queue:
            assert queue.stats().bytes == size
            await _refusal(queue)


async def _refusal(queue: Queue) -> QueueFull:
    try:
        await queue.put(CALL)
    except QueueFull as error:
        return error
    raise AssertionError("the queue was not full")
