"""Paused lanes: calls are accepted and none begins; what runs is finished; a file remembers it."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import trio
from trio.testing import MockClock

from faasd_py.core.errors import BootError, StoreFailed
from faasd_py.core.lifecycle import State
from faasd_py.observe.flow import Flow
from faasd_py.worker.paused import Paused, open_paused
from tests.worker.fakes import answers, takes

F = "f.openfaas-fn"


async def settled(seconds=60.0):
    await trio.sleep(seconds)


async def test_no_call_begins_until_it_is_resumed(shop, autojump_clock: MockClock):
    """They wait as long as it takes; others go on; events say so."""
    house = await shop()
    house.registry.add(answers(200), "f")
    house.registry.add(answers(200), "g")
    assert await house.workers.pause(F)
    mine, other = [house.put("f") for _ in range(3)], house.put("g")
    await house.queue.ended(other)
    await settled()
    assert [one.state for one in mine] == [State.READY] * 3
    assert await house.workers.resume(F)
    for one in mine:
        await house.queue.ended(one)
    told = Counter(one["event"] for one in house.told)
    assert (told["lane.paused"], told["lane.resumed"]) == (1, 1)


async def test_what_runs_is_finished(shop, autojump_clock: MockClock):
    """And the next one waits."""
    house = await shop()
    house.registry.add(takes(10), "f", max_inflight=1)
    first, second = house.put(), house.put()
    await trio.sleep(1)
    await house.workers.pause(F)
    await house.queue.ended(first)
    assert first.end[0] is State.DONE
    await settled()
    assert second.state is State.READY
    await house.workers.resume(F)
    await house.queue.ended(second)


@pytest.mark.parametrize("limit", [1, 2, 8])
async def test_resumed_while_its_last_calls_run(shop, autojump_clock: MockClock, limit):
    """It goes on at once, does not wait for them, and never runs more than its limit."""
    house = await shop()
    running, most = 0, 0

    async def work(invocation, reply):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await trio.sleep(10)
        running -= 1
        await answers(200)(invocation, reply)

    house.registry.add(work, "f", max_inflight=limit)
    calls = [house.put() for _ in range(12)]
    await trio.sleep(1)
    for _ in range(3):
        await house.workers.pause(F)
        await trio.sleep(1)
        await house.workers.resume(F)
        await trio.sleep(1)
    for one in calls:
        await house.queue.ended(one)
    assert most == limit


async def test_twice_is_once(shop, autojump_clock: MockClock):
    """Pausing what is paused and resuming what is not change nothing and tell nobody."""
    house = await shop()
    assert await house.workers.pause(F)
    assert not await house.workers.pause(F)
    assert await house.workers.resume(F)
    assert not await house.workers.resume(F)
    assert len(house.told) == 2


async def test_a_drain_does_not_wait_for_paused_lanes(shop, autojump_clock: MockClock):
    """Their calls stay where they are."""
    house = await shop()
    house.registry.add(answers(200))
    await house.workers.pause(F)
    entry = house.put()
    await settled(1)
    start = trio.current_time()
    await house.workers.drain(100)
    assert trio.current_time() == start
    assert entry.state is State.READY


async def test_a_file_remembers(tmp_path):
    """What is paused, and since when; nothing is there at first."""
    path = tmp_path / "paused.json"
    paused = open_paused(path)
    seen = []
    assert await paused.add("a.b", 5.0, seen.append)
    assert await paused.add("callback:x:1", 6.0, seen.append)
    assert dict(open_paused(path).since()) == {"a.b": 5.0, "callback:x:1": 6.0}
    assert await open_paused(path).remove("a.b", seen.append)
    assert "a.b" not in open_paused(path)
    assert seen == ["a.b", "callback:x:1", "a.b"]
    assert json.loads(path.read_text()) == {"paused": {"callback:x:1": 6.0}}


async def test_a_disk_that_does_not_keep_it(tmp_path):
    """Then it is not so, and nobody is told that it were."""
    paused = Paused(tmp_path / "nowhere" / "paused.json")
    with pytest.raises(StoreFailed, match="cannot be written"):
        await paused.add("a.b", 1.0, pytest.fail)
    assert "a.b" not in paused


@pytest.mark.parametrize("text", ["", "{}", '{"paused": ["a"]}', "\xff", '{"paused": {"a": "b"}}'])
def test_a_file_that_says_nothing(tmp_path, text):
    """The start ends with a sentence: to run what somebody paused would be worse."""
    path = tmp_path / "paused.json"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(BootError, match=r"paused\.json: does not say which lanes are paused"):
        open_paused(path)


# rates


def test_rates_are_of_the_last_minute():
    """Accepted and finished, by lane, over the time that was counted."""
    flow = Flow(0.0)
    for _ in range(30):
        flow.put("a")
    flow.over("a")
    assert flow.rates(10.0) == {"a": (3.0, 0.1)}
    for now in (15.0, 30.0, 45.0, 60.0):
        flow.tick(now)
    assert flow.rates(60.0) == {"a": (0.5, 1 / 60)}


def test_what_does_not_move_is_forgotten():
    """After a minute nothing of it is left."""
    flow = Flow(0.0)
    flow.put("a")
    for tick in range(1, 6):
        flow.tick(tick * 15.0)
    flow.put("b")
    assert flow.rates(80.0) == {"b": (1 / 65, 0.0)}


def test_the_first_second():
    """No rate is made of the fraction of a second."""
    flow = Flow(100.0)
    flow.put("a")
    assert flow.rates(100.001) == {"a": (1.0, 0.0)}
