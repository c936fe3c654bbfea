"""Results: the last outcome, bounded in size and time."""

from __future__ import annotations

import msgspec
import trio

from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import DONE, Verdict
from faasd_py.queue.contract import Queue
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
    BURY,
    CALL,
    FAILED,
    PATIENCE,
    Ground,
    begin,
    needs,
    run,
    stands,
)


class ResultConformance(Ground):
    """What is kept of an answer."""

    async def test_the_outcome_comes_back_as_it_was(self) -> None:
        """Status, headers, body, times; also in the next life of the store."""
        async with self.opened() as queue:
            needs(queue, "results")
            identity = (await queue.put(CALL)).id
            assert await queue.result(identity) is None
            await run(queue)
            assert await queue.result(identity) == ANSWER
            assert (await stands(queue, identity)).status == 200
            needs(queue, "durable")
        async with self.opened() as queue:
            assert await queue.result(identity) == ANSWER

    async def test_the_last_outcome_wins(self) -> None:
        """Also when the first was larger."""
        async with self.opened() as queue:
            needs(queue, "results")
            identity = (await queue.put(CALL)).id
            large = msgspec.structs.replace(FAILED, body=b"z" * 50_000)
            await run(queue, large, Verdict(move=Move.RETRY))
            assert await queue.result(identity) == large
            await run(queue, ANSWER)
            assert await queue.result(identity) == ANSWER

    async def test_a_body_over_the_limit_leaves_status_and_headers(self) -> None:
        """The whole size is told, and that it is not complete."""
        async with self.opened(max_result=100) as queue:
            needs(queue, "results")
            identity = (await queue.put(CALL)).id
            await run(queue, msgspec.structs.replace(ANSWER, body=b"z" * 101, size=101))
            kept = await queue.result(identity)
            assert kept is not None
            assert (kept.status, kept.headers, kept.body) == (200, ANSWER.headers, b"")
            assert (kept.size, kept.complete) == (101, False)

    async def test_a_body_in_a_file_leaves_status_and_headers(self) -> None:
        """The file stays the worker's."""
        async with self.opened() as queue:
            needs(queue, "results")
            identity = (await queue.put(CALL)).id
            body = await self.spooled(b"z" * 300_000)
            await run(queue, msgspec.structs.replace(ANSWER, body=body, size=300_000))
            kept = await queue.result(identity)
            assert kept is not None
            assert (kept.body, kept.size, kept.complete) == (b"", 300_000, False)
            assert await trio.Path(body.path).exists()

    async def test_all_results_together_are_bounded(self) -> None:
        """The oldest go first; the newest is there."""
        async with self.opened(max_results_bytes=50_000) as queue:
            needs(queue, "results")
            large = msgspec.structs.replace(ANSWER, body=b"z" * 10_000, size=10_000)
            ids = []
            for _ in range(12):
                ids.append((await queue.put(CALL)).id)
                await run(queue, large)
            with trio.fail_after(PATIENCE):
                while len(kept := await _kept(queue, ids)) > 5:
                    await trio.sleep(0.01)
            assert kept == ids[-len(kept) :]
            assert kept

    async def test_a_settlement_without_an_outcome_has_no_result(self) -> None:
        """A call that never ran answered nothing."""
        async with self.opened() as queue:
            needs(queue, "results", "dead_letters")
            identity = (await queue.put(CALL)).id
            await queue.settle(await begin(queue), BURY)
            assert await queue.result(identity) is None
            assert (await stands(queue, identity)).status is None

    async def test_results_that_are_kept_for_no_time_go_by_themselves(self) -> None:
        """Retention of nothing: the record is gone when the queue has tidied up."""
        async with self.opened(result_retention=0) as queue:
            needs(queue, "results")
            identity = (await queue.put(CALL)).id
            await queue.settle(await begin(queue), DONE, ANSWER)
            await queue.flush()
        async with self.opened(result_retention=0) as queue:
            with trio.fail_after(PATIENCE):
                while await queue.find(identity) is not None:
                    await trio.sleep(0.01)


async def _kept(queue: Queue, ids: list[str]) -> list[str]:
    return [identity for identity in ids if await queue.result(identity) is not None]
