"""The queue that services are lent: the contract, and pauses that hold for whoever they give calls to."""

from __future__ import annotations

import time

import pytest
import trio

from faasd_py.api import Move, QueueUnavailable, Verdict
from faasd_py.queue import memory
from faasd_py.queue.contract import start_many
from faasd_py.testing.queue_conformance import QueueConformance
from faasd_py.testing.queue_conformance.ground import CALL, LANE, call
from faasd_py.worker.lent_queue import LentQueue
from faasd_py.worker.paused import Paused


class Opened:
    """A queue, lent."""

    def __init__(self, opening, paused):
        self._opening, self._paused = opening, paused

    async def __aenter__(self):
        return LentQueue(await self._opening.__aenter__(), self._paused)

    async def __aexit__(self, *error):
        return await self._opening.__aexit__(*error)


class TestLent(QueueConformance):
    """While nothing is paused it is the queue behind it."""

    @pytest.fixture(autouse=True)
    def place(self, tmp_path):
        self.directory = tmp_path

    def open_queue(self, site):
        return Opened(memory.open_queue(site), Paused())


class House(QueueConformance):
    """Where the tests below open theirs."""

    __test__ = False


@pytest.fixture
async def lent(tmp_path):
    """The queue, and what is paused."""
    house, paused = House(), Paused()
    house.directory = tmp_path
    async with Opened(memory.open_queue(house.site()), paused) as queue:
        queue.paused = paused
        yield queue


def nothing(lane):
    """Nobody is to be told."""


async def test_nothing_of_a_paused_lane_is_given_out(lent):
    """Neither to who waits already nor to who comes; other lanes go on; resumed, it comes at once."""
    got = []

    async def waits():
        await lent.wait_ready(LANE)
        got.append(lent.lease_nowait(LANE))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(waits)
        await trio.testing.wait_all_tasks_blocked()
        await lent.paused.add(LANE, time.time(), nothing)
        nursery.start_soon(waits)
        await lent.put(CALL)
        await lent.put(CALL)
        other = await lent.put(call(lane="other"))
        await trio.testing.wait_all_tasks_blocked()
        assert not got
        assert lent.lease_nowait(LANE) is None
        assert lent.lease_nowait("other").id == other.id
        assert lent.stats().lanes[LANE].ready == 2
        with trio.fail_after(5):
            await lent.paused.remove(LANE, nothing)
            while len(got) < 2:
                await trio.lowlevel.checkpoint()
    assert None not in got


async def test_what_was_given_out_does_not_begin(lent):
    """It is refused and handed back, and no attempt is counted; started ones of other lanes are."""
    await lent.put(CALL)
    await lent.put(CALL)
    await lent.put(call(lane="other"))
    one, two, other = (lent.lease_nowait(lane) for lane in (LANE, LANE, "other"))
    await lent.paused.add(LANE, time.time(), nothing)
    with pytest.raises(QueueUnavailable, match=f"lane {LANE} is paused"):
        await lent.start(one)
    errors = await start_many(lent, [two, other])
    assert isinstance(errors[0], QueueUnavailable)
    assert errors[1] is None
    for lease in (one, two):
        await lent.settle(lease, Verdict(move=Move.RELEASE))
    await lent.paused.remove(LANE, nothing)
    again = [lent.lease_nowait(LANE) for _ in range(2)]
    assert [lease.attempt for lease in again] == [1, 1]
    assert await start_many(lent, again) == [None, None]


async def test_what_runs_is_settled(lent):
    """A pause does not touch it."""
    await lent.put(CALL)
    lease = lent.lease_nowait(LANE)
    await lent.start(lease)
    await lent.paused.add(LANE, time.time(), nothing)
    await lent.settle(lease, Verdict(move=Move.DONE))
    assert lent.stats().lanes.get(LANE) is None or lent.stats().lanes[LANE].leased == 0
