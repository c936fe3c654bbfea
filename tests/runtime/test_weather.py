"""Everything at once: calls of all kinds, cancelled at any moment, with a helper killed in between."""

from __future__ import annotations

import os
import random
import signal
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime.process import open_fork, open_stream
from faasd_py.runtime.service import open_service
from faasd_py.runtime.session import members
from faasd_py.testing.recorder import Pieces, Recorder
from faasd_py.testing.runtime_conformance import SUBJECT, Gone, request

from .places import PYTHON, eventually, shell, site

COMMANDS = [
    ["/bin/cat"],
    ["/bin/true"],
    shell("sleep 0.02; exit 3"),
    shell("trap '' TERM; cat; sleep 1000 & echo x"),
    shell("head -c 300000 /dev/zero; echo e >&2"),
    shell("exec sleep 1000"),
]


def body(dice):
    """A request of some kind."""
    kind = dice.randrange(4)
    if kind == 0:
        return request("echo", b"")
    if kind == 1:
        return request("echo", bytes(dice.randrange(200_000)))
    pieces = [bytes(dice.randrange(1, 100_000)) for _ in range(dice.randrange(4))]
    if kind == 2:
        return request("echo", source=Pieces(*pieces))
    return request("echo", source=Pieces(*pieces, Gone() if dice.random() < 0.5 else trio.sleep_forever))


@pytest.mark.parametrize("seed", range(3))
async def test_weather(machinery, tmp_path, seed):
    """Whatever happens to calls, nothing of them is left, nothing unexpected is raised, and the next call works."""
    helpers: set[int] = set()
    dice, before = random.Random(seed), pipes()
    async with AsyncExitStack() as stack:
        runtimes = []
        for number, command in enumerate(COMMANDS):
            for open_mode in (open_fork, open_stream):
                place = site(machinery, tmp_path / str(number), command=command, kill_grace=0.05)
                runtimes.append(await stack.enter_async_context(open_mode(place)))
        serve = site(
            machinery, tmp_path / "s", command=[*PYTHON, SUBJECT, "serve"], kill_grace=0.2, mode="http"
        )
        runtimes.append(await stack.enter_async_context(open_service(serve)))
        cat = runtimes[0]
        await cat.invoke(request("x", b"warm up"), Recorder())
        await runtimes[-1].invoke(request("echo", b"warm up"), Recorder())

        async def one(runtime, invocation, patience):
            failing = Gone() if dice.random() < 0.1 else None
            with trio.move_on_after(patience), suppress(FunctionUnavailable, Gone):
                await runtime.invoke(invocation, Recorder(failing))

        async def disturb():
            for _ in range(3):
                await trio.sleep(0.1)
                helpers.update(machinery.helpers)
                os.kill(machinery.helpers[0], signal.SIGKILL)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(disturb)
                for _ in range(150):
                    nursery.start_soon(
                        one, dice.choice(runtimes), body(dice), dice.choice((0, 0.001, 0.01, 0.1, 0.5))
                    )
                    if dice.random() < 0.3:
                        await trio.sleep(0.005)
        assert all(runtime.running.count == 0 for runtime in runtimes)
        reply = Recorder()
        await cat.invoke(request("x", b"fair again"), reply)
        assert reply.body == b"fair again"
    await eventually(lambda: machinery.children == [])
    await eventually(
        lambda: not [pid for helper in helpers for pid in members(helper) if pid not in machinery.helpers]
    )
    assert pipes() <= before


def pipes():
    """The pipes that are open in this process."""
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.add(str(path.readlink()))
    return {name for name in found if name.startswith("pipe:")}
