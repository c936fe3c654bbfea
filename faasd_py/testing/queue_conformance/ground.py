"""What every area stands on: opening the backend, and walking a call through its life cycle."""

from __future__ import annotations

import shutil
import sys
import unittest
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, NoReturn

import msgspec
import trio

from faasd_py.config import QueueSettings
from faasd_py.core.call import Call, Lease, Spooled
from faasd_py.core.errors import QueueError
from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import DONE, Outcome, Verdict
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.contract import Queue, Record
from faasd_py.queue.spool import Spool

LANE: Final = "resize.openfaas-fn"
OTHER: Final = "shrink.openfaas-fn"
CALL: Final = Call(
    lane=LANE, target=b"/a?b=c", host=b"box:8080", headers=b"Content-Type: text/plain\r\n", body=b"hello"
)
ANSWER: Final = Outcome(
    status=200, headers=b"X-A: b\r\n", body=b"answer", size=6, started_at=1.7e9, duration=0.25
)
FAILED: Final = Outcome(status=500, body=b"oh no", size=5, started_at=1.7e9, duration=0.5)
BURY: Final = Verdict(move=Move.BURY, reason="attempts")
PATIENCE: Final = 20.0
"""Seconds of real time after which a test gives up."""


class Ground:
    """Give `directory` (empty at the start of each test) and `open_queue`."""

    directory: Path

    def open_queue(self, site: QueueSite) -> AbstractAsyncContextManager[Queue]:
        """The backend on a site; the same site again finds what was kept there."""
        raise NotImplementedError

    def open_after_crash(self, site: QueueSite) -> AbstractAsyncContextManager[Queue]:
        """The backend as the next process would find it if this one died now; the open one is left alone.

        A backend that keeps its calls elsewhere than in `site.directory` overrides this.
        """
        copy = self.directory / "after-crash"
        shutil.copytree(self.directory / "state", copy)
        return self.open_queue(msgspec.structs.replace(site, directory=copy / "queue", spool=copy / "spool"))

    def site(self, **settings: Any) -> QueueSite:
        """The site of this test, with settings other than the defaults."""
        state = self.directory / "state"
        (state / "spool").mkdir(parents=True, exist_ok=True)
        return QueueSite(settings=QueueSettings(**settings), directory=state / "queue", spool=state / "spool")

    def opened(self, **settings: Any) -> AbstractAsyncContextManager[Queue]:
        """The backend on the site of this test."""
        return self.open_queue(self.site(**settings))

    async def spooled(self, data: bytes) -> Spooled:
        """A body in a file, as the gateway makes it."""
        async with Spool(self.site().spool).writer() as writer:
            await writer.write(data)
            return await writer.commit()


def needs(queue: Queue, *capabilities: str) -> None:
    """Skip the test when the backend says that it cannot do this."""
    for name in capabilities:
        if not getattr(queue.capabilities, name):
            skip(f"the backend has no {name}")


def skip(reason: str) -> NoReturn:
    """Skip this test, by pytest's own way where pytest runs it: pytest-trio knows no other."""
    pytest = sys.modules.get("pytest")
    if pytest is not None:
        pytest.skip(reason)
    raise unittest.SkipTest(reason)


def call(**fields: Any) -> Call:
    """CALL with other fields."""
    return msgspec.structs.replace(CALL, **fields)


async def take(queue: Queue, lane: str = LANE) -> Lease:
    """The lane's next call, once there is one."""
    with trio.fail_after(PATIENCE):
        while True:
            await queue.wait_ready(lane)
            lease = queue.lease_nowait(lane)
            if lease is not None:
                return lease
            await trio.lowlevel.checkpoint()


async def begin(queue: Queue, lane: str = LANE) -> Lease:
    """The lane's next call, started."""
    lease = await take(queue, lane)
    await queue.start(lease)
    return lease


async def run(queue: Queue, outcome: Outcome = ANSWER, verdict: Verdict = DONE, lane: str = LANE) -> Lease:
    """Take the lane's next call, run it and settle it."""
    lease = await begin(queue, lane)
    await queue.settle(lease, verdict, outcome)
    return lease


async def run_all(queue: Queue, count: int, lane: str = LANE) -> list[Lease]:
    """Run so many calls, one after the other."""
    return [await run(queue, lane=lane) for _ in range(count)]


async def stands(queue: Queue, identity: str) -> Record:
    """The record, which must be there."""
    record = await queue.find(identity)
    assert record is not None, "the call is not on record"
    return record


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is so."""
    with trio.fail_after(PATIENCE):
        while not condition():
            await trio.sleep(0.005)


async def until_state(queue: Queue, identity: str, state: State) -> Record:
    """Wait until a call stands there."""
    with trio.fail_after(PATIENCE):
        while (record := await stands(queue, identity)).state is not state:
            await trio.sleep(0.005)
    return record


async def put_later(queue: Queue, wanted: Call) -> str:
    """Put a call, trying again while the queue cannot take it; its id."""
    with trio.fail_after(PATIENCE):
        while True:
            try:
                return (await queue.put(wanted)).id
            except QueueError:
                await trio.sleep(0.005)
