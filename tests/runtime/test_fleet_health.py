"""Replicas that are not ready, not well, or not there any more."""

from __future__ import annotations

import pytest
import trio

from faasd_py.api import FunctionUnavailable, Replicas
from faasd_py.core.durations import Duration
from faasd_py.core.probes import HEALTH, READY
from faasd_py.testing.recorder import Recorder
from faasd_py.testing.runtime_conformance import request

from .places import eventually
from .toys import Dozer, staged


async def call(fleet):
    reply = Recorder()
    await fleet.invoke(request("echo"), reply)
    return reply.status


async def test_what_is_unwell_is_replaced(tmp_path, autojump_clock):
    """After three bad answers in a row; its calls finish, another is up meanwhile, and observers hear of it."""
    async with staged(tmp_path, health_path="/h", health_interval=Duration(10)) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available)
        sick, stage.statuses = stage.actors[1], {}
        sick.statuses["/h"] = 500
        sick.go = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, fleet)
            began = trio.current_time()
            await eventually(lambda: stage.opened == [1, 2], 100)
            assert 29 < trio.current_time() - began < 32
            await eventually(lambda: fleet.replicas() == Replicas(1, 1))
            assert sick.calls == 1
            assert await call(fleet) == 200
            sick.go.set()
        await eventually(lambda: stage.left == [1])
        await trio.sleep(100)
        assert stage.opened == [1, 2]
    facts = {"function": "f.openfaas-fn", "instance": "actor-1", "reason": "/h answered 500"}
    assert [told for told in stage.events if told[0] != "function.ready"] == [("function.unhealthy", facts)]
    assert ("stderr", "unwell: /h answered 500; it is replaced", "actor-1", "") in stage.log.lines


async def test_health_by_annotation(tmp_path, autojump_clock):
    """OpenFaaS' names."""
    annotations = {HEALTH + "path": "/h", HEALTH + "periodSeconds": "1", HEALTH + "failureThreshold": "1"}
    async with staged(tmp_path, annotations=annotations) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available)
        stage.actors[1].statuses["/h"] = 404
        await eventually(lambda: stage.opened == [1, 2])


async def test_one_that_is_always_unwell(tmp_path, autojump_clock):
    """Its replacements grow rarer, as those of one that crashes."""
    annotations = {HEALTH + "path": "/h", HEALTH + "periodSeconds": "0.1", HEALTH + "failureThreshold": "1"}
    async with staged(tmp_path, annotations=annotations) as (_, stage):
        stage.statuses = {"/h": 500}
        await trio.sleep(300)
        assert 10 < len(stage.opened) < 20


async def test_an_answer_that_does_not_come(tmp_path, autojump_clock):
    """Is a bad one after timeoutSeconds."""
    annotations = {HEALTH + "path": "/", HEALTH + "failureThreshold": "1", HEALTH + "timeoutSeconds": "2"}
    async with staged(tmp_path, annotations=annotations) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available)
        stage.actors[1].go = trio.Event()
        await eventually(lambda: stage.opened == [1, 2], 100)
    assert stage.events[1][1]["reason"] == "/ did not answer within 2s"


async def test_what_sleeps_is_not_asked(tmp_path, autojump_clock):
    """Nobody wakes it to hear how it is."""
    async with staged(tmp_path, health_path="/h", sleep="pause", kind=Dozer) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available)
        fleet.scale(0)
        await eventually(lambda: stage.actors[1].paused)
        asked = len(stage.actors[1].asked)
        await trio.sleep(1000)
        assert len(stage.actors[1].asked) == asked
        assert await call(fleet) == 200


async def test_what_is_unready_gets_no_calls(tmp_path, autojump_clock):
    """With OpenFaaS' annotation readiness is asked for all along, and may come back."""
    annotations = {READY + "path": "/r", READY + "periodSeconds": "1"}
    settings = {"annotations": annotations, "smallest": 2, "largest": 2}
    async with staged(tmp_path, **settings) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available == 2)
        stage.actors[1].statuses["/r"] = 503
        await eventually(lambda: fleet.replicas() == Replicas(2, 1))
        before = stage.actors[1].asked.count("/")
        for _ in range(4):
            await call(fleet)
        assert stage.actors[1].asked.count("/") == before
        stage.actors[1].statuses["/r"] = 200
        await eventually(lambda: fleet.replicas() == Replicas(2, 2))
    assert "not ready: /r answered 503; no calls until it is" in stage.log.texts
    assert stage.opened == [1, 2]


async def test_calls_wait_for_the_only_one_to_be_ready_again(tmp_path, autojump_clock):
    """None is lost, as long as it takes no longer than start_timeout."""
    annotations = {READY + "path": "/r", READY + "periodSeconds": "1", READY + "failureThreshold": "1"}
    async with staged(tmp_path, annotations=annotations, start_timeout=Duration(20)) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available)
        stage.actors[1].statuses["/r"] = 503
        await eventually(lambda: not fleet.replicas().available)
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(call, fleet)
            await trio.sleep(10)
            stage.actors[1].statuses["/r"] = 200
        stage.actors[1].statuses["/r"] = 503
        await eventually(lambda: not fleet.replicas().available)
        with pytest.raises(FunctionUnavailable, match="not ready within 20s: /r answered 503"):
            await call(fleet)


async def test_success_threshold(tmp_path, autojump_clock):
    """So many good answers in a row before the first call."""
    async with staged(tmp_path, ready_path="/r", annotations={READY + "successThreshold": "3"}) as (
        fleet,
        stage,
    ):
        await call(fleet)
        assert stage.actors[1].asked == ["/r", "/r", "/r", "/"]


async def test_initial_delay(tmp_path, autojump_clock):
    """Nobody is asked before."""
    annotations = {READY + "path": "/r", READY + "initialDelaySeconds": "7"}
    async with staged(tmp_path, annotations=annotations) as (fleet, _):
        began = trio.current_time()
        await call(fleet)
        assert trio.current_time() - began == pytest.approx(7)


async def test_a_refused_connection_is_not_the_callers(tmp_path, autojump_clock):
    """The call waits until it listens again, or goes to another."""
    async with staged(tmp_path, smallest=2, largest=2) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available == 2)
        stage.actors[1].answers = False
        assert [await call(fleet) for _ in range(4)] == [200] * 4
        assert fleet.replicas() == Replicas(2, 1)
        stage.actors[2].end("it was told to")
        stage.failures = [FunctionUnavailable("no room")]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(call, fleet)
            await trio.sleep(0.1)
            stage.actors[1].answers = True


async def test_what_refuses_for_long_is_replaced(tmp_path, autojump_clock):
    """After start_timeout."""
    async with staged(tmp_path, start_timeout=Duration(5)) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available)
        stage.actors[1].answers = False
        with pytest.raises(FunctionUnavailable, match="not ready within 5s: it is not listening"):
            await call(fleet)
        await eventually(lambda: stage.opened == [1, 2])
        assert await call(fleet) == 200


async def test_crashes_are_told(tmp_path, autojump_clock):
    """To observers, with the reason; starts that fail have no instance."""
    async with staged(tmp_path) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available)
        stage.failures = [FunctionUnavailable("no room")]
        stage.actors[1].end("it was told to")
        await eventually(lambda: stage.opened == [1, 2, 3] and fleet.replicas().available)
    assert [(event, facts["instance"], facts.get("reason")) for event, facts in stage.events] == [
        ("function.ready", "actor-1", None),
        ("function.crashed", "actor-1", "it was told to"),
        ("function.crashed", "", "no room"),
        ("function.ready", "actor-3", None),
    ]


async def test_trouble_is_told(tmp_path, autojump_clock):
    """How often it failed, and why; nothing of that while one answers."""
    async with staged(tmp_path) as (fleet, stage):
        stage.failures = [FunctionUnavailable("no room")] * 3
        await eventually(lambda: fleet.replicas().failures == 3)
        assert fleet.replicas() == Replicas(1, 0, 3, "no room")
        await eventually(lambda: fleet.replicas() == Replicas(1, 1))


async def test_those_that_fail_together_failed_once(tmp_path, autojump_clock):
    """Four that end within a second are started again together, and soon: no longer than one would be."""
    async with staged(tmp_path, smallest=4, largest=4) as (fleet, stage):
        for round_ in range(3):
            await eventually(lambda: fleet.replicas() == Replicas(4, 4))
            began = trio.current_time()
            for actor in list(stage.actors.values()):
                actor.end("it was told to")
                await trio.sleep(0.02)
            assert fleet.replicas().failures == round_ + 1
            await eventually(lambda: fleet.replicas() == Replicas(4, 4))
            assert trio.current_time() - began < 0.25 * 2**round_ + 0.5


async def test_several_that_fail_at_once(tmp_path, autojump_clock):
    """Those who wait hear of it, though others are to be tried later."""
    async with staged(tmp_path, smallest=3, largest=3) as (fleet, stage):
        stage.failures = [FunctionUnavailable("no room")] * 6
        with pytest.raises(FunctionUnavailable, match=r"^no room$"):
            await call(fleet)
