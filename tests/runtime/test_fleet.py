"""A fleet over instances that a plug-in might bring."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from faasd_py.api import ConfigError, FunctionUnavailable, Replicas, Usage, open_fleet
from faasd_py.config import ReplicaSettings
from faasd_py.core.durations import Duration
from faasd_py.testing.recorder import Recorder
from faasd_py.testing.runtime_conformance import RuntimeConformance, request

from .places import eventually, site
from .toys import open_toy, staged


class TestConformance(RuntimeConformance):
    """A fleet over foreign instances is a runtime like every other."""

    @asynccontextmanager
    async def opened(self, name):
        async with open_fleet(site(None, "/", mode="toy"), open_toy) as fleet:
            yield fleet


async def test_usage_is_the_sum(tmp_path):
    """Of those that are up; None when nobody knows."""
    settings = {"replicas": ReplicaSettings(min=2, max=2)}
    async with open_fleet(site(None, tmp_path, **settings), open_toy) as fleet:
        await eventually(lambda: fleet.replicas().available == 2)
        assert await fleet.usage() == Usage(cpu_seconds=3.0, memory_bytes=2000)
    async with staged(tmp_path) as (fleet, _):
        assert await fleet.usage() is None


async def test_every_instance_is_left(tmp_path):
    """Numbers go on, and what was entered is left."""
    async with staged(tmp_path, smallest=3, largest=3) as (fleet, stage):
        await eventually(lambda: fleet.replicas() == Replicas(wanted=3, available=3))
        assert stage.opened == [1, 2, 3]
    assert sorted(stage.left) == [1, 2, 3]


async def test_an_instance_that_ends_is_replaced(tmp_path, autojump_clock):
    """Its reason is a line in the log, and the next number starts after a while."""
    async with staged(tmp_path) as (fleet, stage):
        await eventually(lambda: fleet.replicas().available)
        stage.actors[1].end("it was told to")
        await eventually(lambda: 2 in stage.actors and fleet.replicas().available)
        assert stage.left == [1]


@pytest.mark.parametrize("error", [FunctionUnavailable("no room"), ConfigError("no room")])
async def test_a_start_that_fails(tmp_path, autojump_clock, error):
    """Callers who wait hear the reason, and it is tried again."""
    async with staged(tmp_path, smallest=0) as (fleet, stage):
        stage.failures = [error]
        with pytest.raises(FunctionUnavailable, match="no room"):
            await fleet.invoke(request("echo"), Recorder())


async def test_a_start_that_takes_too_long(tmp_path, autojump_clock):
    """Entering is given up after start_timeout."""

    @asynccontextmanager
    async def never(number):
        await trio.sleep_forever()
        yield

    settings = {"start_timeout": Duration(3), "replicas": ReplicaSettings(min=0)}
    async with open_fleet(site(None, tmp_path, **settings), never) as fleet:
        began = trio.current_time()
        with pytest.raises(FunctionUnavailable, match="not ready within 3s"):
            await fleet.invoke(request("echo"), Recorder())
        assert trio.current_time() - began == pytest.approx(3)


async def test_closing_while_it_starts(tmp_path, autojump_clock):
    """Entering is cancelled: nobody waits for what will not be needed."""

    @asynccontextmanager
    async def never(number):
        await trio.sleep_forever()
        yield

    async with open_fleet(site(None, tmp_path, start_timeout=Duration(1000)), never):
        began = trio.current_time()
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - began < 1
