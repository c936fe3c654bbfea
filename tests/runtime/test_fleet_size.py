"""A fleet grows and shrinks with its load, sleeps and wakes, and does what `scale` says."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from faasd_py.api import FunctionUnavailable, Replicas
from faasd_py.core.durations import Duration
from faasd_py.core.scaling import PREFIX
from faasd_py.testing.recorder import Recorder
from faasd_py.testing.runtime_conformance import request

from .places import eventually
from .toys import Dozer, staged


def labels(**given):
    return {PREFIX + name.replace("_", "-"): text for name, text in given.items()}


async def call(fleet):
    reply = Recorder()
    await fleet.invoke(request("echo"), reply)
    assert reply.body == b"ok"


@asynccontextmanager
async def held(fleet, stage, count):
    """So many calls run until the block ends."""
    for actor in stage.actors.values():
        actor.go = trio.Event()
    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(call, fleet)
        await trio.testing.wait_all_tasks_blocked()
        yield
        for actor in stage.actors.values():
            actor.go.set()


async def settled(fleet, wanted, within=20.0):
    await eventually(lambda: fleet.replicas() == Replicas(wanted, wanted), within)


async def test_load_grows_it_and_rest_shrinks_it(tmp_path, autojump_clock):
    """To as many as there are calls at most, and back to min after idle_timeout."""
    async with staged(tmp_path, largest=4, idle_timeout=Duration(60)) as (fleet, stage):
        await settled(fleet, 1)
        async with held(fleet, stage, 9):
            await settled(fleet, 4)
        began = trio.current_time()
        await settled(fleet, 1, 100)
        assert 59 < trio.current_time() - began < 63
        assert stage.opened == [1, 2, 3, 4]
        assert list(stage.actors) == [1], "the oldest stays"


async def test_a_target_of_calls_in_flight(tmp_path, autojump_clock):
    """With a target of 10 and a proportion of 0.5, another one from the sixth call on."""
    given = labels(type="capacity", target="10", target_proportion="0.5", max="3")
    async with staged(tmp_path, labels=given) as (fleet, stage):
        await settled(fleet, 1)
        async with held(fleet, stage, 5):
            await trio.sleep(5)
            assert fleet.replicas() == Replicas(1, 1)
        async with held(fleet, stage, 6):
            await settled(fleet, 2)
        async with held(fleet, stage, 50):
            await settled(fleet, 3)


async def test_a_target_of_calls_a_second(tmp_path, autojump_clock):
    """Short calls are counted, too: 30 a second with one replica for each 10."""
    given = labels(type="rps", target="10", target_proportion="1", max="5")
    async with staged(tmp_path, labels=given, idle_timeout=Duration(10)) as (fleet, _):
        await settled(fleet, 1)
        for _ in range(120):
            await call(fleet)
            await trio.sleep(1 / 29)
        assert fleet.replicas().wanted == 3
        await settled(fleet, 1, 30)


async def test_a_target_of_cpu(tmp_path, autojump_clock):
    """Thousandths of a core, of all replicas together."""
    given = labels(type="cpu", target="500", target_proportion="1", max="5")
    async with staged(tmp_path, labels=given, idle_timeout=Duration(10)) as (fleet, stage):
        await settled(fleet, 1)
        for quarter in range(30):
            stage.actors[1].cpu_seconds = quarter * 0.3
            await call(fleet)
            await trio.sleep(0.25)
        assert fleet.replicas().wanted == 3
        await settled(fleet, 1, 30)


async def test_min_at_once(tmp_path, autojump_clock):
    """The label's minimum is started before any call."""
    async with staged(tmp_path, labels=labels(min="3")) as (fleet, stage):
        await settled(fleet, 3)
        assert trio.current_time() < 1000
        assert stage.opened == [1, 2, 3]


async def test_zero_and_from_zero(tmp_path, autojump_clock):
    """Asleep after zero-duration; fifty calls at once wake `min` and all are answered."""
    given = labels(zero="true", zero_duration="30s", min="2", max="2")
    async with staged(tmp_path, labels=given) as (fleet, stage):
        await settled(fleet, 2)
        began = trio.current_time()
        await settled(fleet, 0, 60)
        assert 29 < trio.current_time() - began < 32
        await eventually(lambda: not stage.actors)
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(call, fleet)
        assert stage.opened == [1, 2, 3, 4]


async def test_no_sleep_while_a_call_runs(tmp_path, autojump_clock):
    """However long it takes."""
    async with staged(tmp_path, labels=labels(zero="true", zero_duration="5s")) as (fleet, stage):
        await settled(fleet, 1)
        async with held(fleet, stage, 1):
            await trio.sleep(100)
            assert fleet.replicas() == Replicas(1, 1)


async def test_scale_by_hand(tmp_path, autojump_clock):
    """At once, within 0 and the maximum; it stays without load."""
    async with staged(tmp_path, largest=4, idle_timeout=Duration(5)) as (fleet, stage):
        fleet.scale(3)
        assert fleet.replicas().wanted == 3
        await settled(fleet, 3)
        await trio.sleep(100)
        assert fleet.replicas() == Replicas(3, 3)
        fleet.scale(2)
        await settled(fleet, 2)
        fleet.scale(9)
        await settled(fleet, 4)
        fleet.scale(1)
        await settled(fleet, 1)
        async with held(fleet, stage, 2):
            await settled(fleet, 2)
        await settled(fleet, 1, 30)


async def test_scale_to_zero_by_hand(tmp_path, autojump_clock):
    """It sleeps until the next call, also if it never does by itself; running calls finish."""
    async with staged(tmp_path, smallest=2, largest=2) as (fleet, stage):
        await settled(fleet, 2)
        async with held(fleet, stage, 3):
            fleet.scale(0)
            assert fleet.replicas() == Replicas(0, 0)
            await trio.sleep(5)
            assert sum(actor.calls for actor in stage.actors.values()) == 3
        await eventually(lambda: not stage.actors)
        await call(fleet)
        await settled(fleet, 2)


async def test_scaled_down_calls_have_write_timeout(tmp_path, autojump_clock):
    """A call that would never end does not keep what somebody scaled away; one that only became too many is waited for."""
    broken = []

    async def breaks(fleet):
        with pytest.raises(FunctionUnavailable):
            await call(fleet)
        broken.append(trio.current_time())

    async with staged(tmp_path, write_timeout=Duration(7)) as (fleet, stage), trio.open_nursery() as nursery:
        await settled(fleet, 1)
        stage.actors[1].go = trio.Event()
        nursery.start_soon(breaks, fleet)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        fleet.scale(0)
        await eventually(lambda: broken)
        assert broken[0] - began == pytest.approx(7)


async def test_what_waits_for_its_start_is_given_up(tmp_path, autojump_clock):
    """No replica is started that nobody wants any more."""
    async with staged(tmp_path, smallest=0, largest=3) as (fleet, stage):
        stage.failures = [FunctionUnavailable("no room")]
        fleet.scale(1)
        await eventually(lambda: stage.opened == [1])
        await eventually(lambda: fleet.replicas().failures == 1)
        fleet.scale(1)
        fleet.scale(0)
        await trio.sleep(60)
        assert stage.opened == [1]


async def test_an_idle_fleet_is_not_looked_at(tmp_path, autojump_clock):
    """Without calls there is nothing to do, ever: time passes in one step."""
    async with staged(tmp_path, largest=3) as (fleet, _):
        await settled(fleet, 1)
        await call(fleet)
        await trio.sleep(1000)
        looks = []
        fleet.watch._scaler.look = lambda *args: looks.append(args)
        await trio.sleep(80_000)
        assert not looks


async def test_pause(tmp_path, autojump_clock):
    """With sleep = "pause", those of `min` stand still, others end; the next call wakes them, and nothing is started."""
    settings = {"sleep": "pause", "labels": labels(zero="true", zero_duration="10s", max="3"), "kind": Dozer}
    async with staged(tmp_path, **settings) as (fleet, stage):
        await settled(fleet, 1)
        for _ in range(2):
            await settled(fleet, 0, 60)
            await eventually(lambda: stage.actors[1].paused)
            await call(fleet)
            assert not stage.actors[1].paused
        fleet.scale(3)
        await settled(fleet, 3)
        fleet.scale(0)
        await eventually(lambda: list(stage.actors) == [1])
        await eventually(lambda: all(actor.paused for actor in stage.actors.values()))
        fleet.scale(1)
        await settled(fleet, 1)
    assert stage.opened == [1, 2, 3]


async def test_a_pause_that_fails(tmp_path, autojump_clock):
    """It is stopped instead."""
    settings = {"sleep": "pause", "labels": labels(zero="true", zero_duration="10s"), "kind": Dozer}
    async with staged(tmp_path, **settings) as (fleet, stage):
        await settled(fleet, 1)
        stage.actors[1].can_pause = False
        await eventually(lambda: not stage.actors, 60)
        await call(fleet)
        assert stage.opened == [1, 2]


async def test_a_quick_return_from_a_pause(tmp_path, autojump_clock):
    """Woken while it is being paused."""
    async with staged(tmp_path, sleep="pause", kind=Dozer) as (fleet, stage):
        await settled(fleet, 1)
        fleet.scale(0)
        await call(fleet)
        assert (stage.opened, stage.actors[1].paused) == ([1], False)
        fleet.scale(0)
        await trio.testing.wait_all_tasks_blocked()
        assert stage.actors[1].paused
    assert stage.left == [1]


async def test_one_that_dies_in_its_sleep(tmp_path, autojump_clock):
    """Is not replaced before somebody calls."""
    async with staged(tmp_path, sleep="pause", kind=Dozer) as (fleet, stage):
        await settled(fleet, 1)
        fleet.scale(0)
        await eventually(lambda: stage.actors[1].paused)
        stage.actors[1].end("it was killed")
        await trio.sleep(100)
        assert (stage.opened, list(stage.actors)) == ([1], [])
        await call(fleet)
        assert stage.opened == [1, 2]
