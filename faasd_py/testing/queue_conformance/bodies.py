"""Bodies of every size and kind."""

from __future__ import annotations

import os

import trio

from faasd_py.core.call import Call, Spooled
from faasd_py.core.errors import QueueFull
from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import Verdict
from faasd_py.queue.contract import Filter, Queue
from faasd_py.queue.spool import SpoolReader
from faasd_py.testing.queue_conformance.ground import (
    ANSWER,
    CALL,
    FAILED,
    Ground,
    begin,
    call,
    needs,
    run,
    take,
)

SIZES = (0, 1, 1023, 1024, 1025, 4096, 65_536, 262_144, 1_000_000)
LARGE = 300_000


class BodyConformance(Ground):
    """In the store and in files."""

    async def test_bodies_of_every_size_come_back(self) -> None:
        """Byte for byte, now and in the next life of the store."""
        bodies = [os.urandom(size) for size in SIZES]
        async with self.opened() as queue:
            for body in bodies:
                await queue.put(call(body=body))
            for body in bodies:
                assert (await take(queue)).call.body == body
            for body in bodies:
                await queue.put(call(body=body, lane="again"))
            needs(queue, "durable")
        async with self.opened() as queue:
            for body in bodies:
                assert (await take(queue, "again")).call == call(body=body, lane="again")

    async def test_odd_bytes_are_only_bytes(self) -> None:
        """NUL, invalid UTF-8, something that looks like a statement or a number."""
        odd = (b"\0", b"\xff\xfe", b"'; DROP TABLE calls; --", b"123", b"1e9", bytes(range(256)))
        async with self.opened() as queue:
            for body in odd:
                await queue.put(call(body=body, target=b"/%00\xff", headers=b"X: " + body[:1] + b"\r\n"))
            for body in odd:
                assert (await run(queue)).call.body == body

    async def test_a_spooled_body_becomes_the_queues(self) -> None:
        """It is no longer where the caller wrote it, and reads as it was written."""
        async with self.opened() as queue:
            data = os.urandom(LARGE)
            body = await self.spooled(data)
            await queue.put(call(body=body))
            assert not await trio.Path(body.path).exists()
            lease = await take(queue)
            assert await _read(lease.call) == data
            assert isinstance(lease.call.body, Spooled)
            assert lease.call.body.size == LARGE

    async def test_a_spooled_body_is_removed_after_the_end(self) -> None:
        """No file is left behind."""
        async with self.opened() as queue:
            await queue.put(call(body=await self.spooled(b"z" * LARGE)))
            lease = await begin(queue)
            await queue.settle(lease, Verdict(move=Move.DONE), ANSWER)
            await queue.flush()
            assert self.files() == 0

    async def test_a_spooled_body_stays_for_a_retry(self) -> None:
        """And is whole in the next life of the store."""
        data = os.urandom(LARGE)
        async with self.opened() as queue:
            await queue.put(call(body=await self.spooled(data)))
            await run(queue, FAILED, Verdict(move=Move.RETRY))
            lease = await take(queue)
            assert await _read(lease.call) == data
            await queue.settle(lease, Verdict(move=Move.RELEASE))
            needs(queue, "durable")
        async with self.opened() as queue:
            assert await _read((await take(queue)).call) == data

    async def test_cancelled_and_purged_calls_leave_no_file(self) -> None:
        """Whatever way a call goes."""
        async with self.opened() as queue:
            needs(queue, "cancel", "inspect")
            ids = [(await queue.put(call(body=await self.spooled(b"z" * LARGE)))).id for _ in range(3)]
            assert await queue.cancel(ids[0]) is State.READY
            assert await queue.purge(Filter()) >= 2
            await queue.flush()
            assert self.files() == 0

    async def test_a_refused_spooled_body_stays_the_callers(self) -> None:
        """Nothing half-kept: the file lies where it was."""
        async with self.opened(max_depth=1) as queue:
            await queue.put(CALL)
            body = await self.spooled(b"z" * LARGE)
            try:
                await queue.put(call(body=body))
            except QueueFull:
                pass
            else:
                raise AssertionError("the queue was not full")
            assert await trio.Path(body.path).exists()

    async def test_a_duplicate_leaves_its_file_to_the_caller(self) -> None:
        """The first call's body is the one that runs."""
        async with self.opened() as queue:
            needs(queue, "dedup")
            first, second = await self.spooled(b"1" * LARGE), await self.spooled(b"1" * LARGE)
            await queue.put(call(body=first, idempotency_key="k"))
            assert (await queue.put(call(body=second, idempotency_key="k"))).duplicate
            assert await trio.Path(second.path).exists()
            assert await _read((await take(queue)).call) == b"1" * LARGE

    async def test_a_callback_may_carry_a_file(self) -> None:
        """The queue takes it over with the settlement."""
        async with self.opened() as queue:
            await queue.put(CALL)
            body = await self.spooled(b"z" * LARGE)
            await queue.settle(
                await begin(queue), Verdict(move=Move.DONE), ANSWER, call(lane="callback:a", body=body)
            )
            lease = await take(queue, "callback:a")
            assert await _read(lease.call) == b"z" * LARGE
            assert not await trio.Path(body.path).exists()
            await _end(queue, lease.call.lane)

    def files(self) -> int:
        """How many files with bodies there are. A backend that keeps its own count overrides this."""
        site = self.site()
        bodies = site.directory / "bodies"
        return sum(1 for place in (site.spool, bodies) if place.exists() for _ in place.iterdir())


async def _read(taken: Call) -> bytes:
    assert isinstance(taken.body, Spooled)
    reader = SpoolReader(taken.body)
    pieces = []
    while piece := await reader.read():
        pieces.append(piece)
    return b"".join(pieces)


async def _end(queue: Queue, lane: str) -> None:
    await queue.flush()
    assert queue.lease_nowait(lane) is None
