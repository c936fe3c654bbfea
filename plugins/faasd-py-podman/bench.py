"""What a container costs: a call, a start, a pause; beside the same program as a process of mode `http`.

    python plugins/faasd-py-podman/bench.py      (as root)

The program is an HTTP server in Python that answers 128 bytes with a little JSON, called through the runtime itself, in turns.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from pathlib import Path
from statistics import median

import trio

from faasd_py.config import FunctionSettings
from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime.machinery import open_machinery
from faasd_py.runtime.service import open_service
from faasd_py.testing.recorder import Recorder
from faasd_py.testing.runtime_conformance import SUBJECT, request
from faasd_py_podman.image import make_plan, open_container, open_image
from faasd_py_podman.podman import open_podman

sys.path.insert(0, str(Path(__file__).parents[2]))
stores = importlib.import_module("plugins.faasd-py-podman.tests.store")

ROUNDS, CALLS, AT_ONCE, STARTS = 7, 1500, 16, 15
PROCESS = {"mode": "http", "command": ["/usr/bin/python3", "-I", "-S", SUBJECT, "serve"], "kill_grace": 0.0}
CONTAINER = {"image": stores.SUBJECT_IMAGE, "kill_grace": 0.0}


class Silence:
    """A log that keeps nothing."""

    def line(self, text, *, stream="stderr", instance="", call_id=""):
        """Nothing."""


@asynccontextmanager
async def site(settings, *, machinery=None, shared=None):
    """One function's, with directories of its own."""
    with tempfile.TemporaryDirectory() as directory:
        yield RuntimeSite(
            name="f", namespace="bench", settings=FunctionSettings(**settings), directory=Path(directory),
            secrets=Path(directory), log=Silence(), machinery=machinery, shared=shared,
        )  # fmt: skip


async def calls(runtime, at_once):
    """Microseconds a call, `at_once` of them at a time."""
    start = time.perf_counter()

    async def one():
        for _ in range(CALLS // at_once):
            await runtime.invoke(request("describe", b"x" * 128), Recorder())

    async with trio.open_nursery() as nursery:
        for _ in range(at_once):
            nursery.start_soon(one)
    return (time.perf_counter() - start) / CALLS * 1e6


async def compare_calls(machinery, podman):
    """Rounds in turns."""
    async with (
        site(PROCESS, machinery=machinery) as process_site,
        site(CONTAINER, shared=podman) as container_site,
        open_service(process_site) as process,
        open_image(container_site) as container,
    ):
        for runtime in (process, container):
            await calls(runtime, 1)
        for at_once in (1, AT_ONCE):
            rounds = [(await calls(process, at_once), await calls(container, at_once)) for _ in range(ROUNDS)]
            mine, theirs = (median(column) for column in zip(*rounds, strict=True))
            say(f"call, {at_once} at once", f"process {mine:.0f} us, container {theirs:.0f} us")


async def time_container(podman):
    """From nothing to the first connection; pause, resume, dial."""
    figures = {"started": [], "answers": [], "dial": [], "pause": [], "resume": [], "stopped": []}
    async with site(CONTAINER, shared=podman) as one:
        plan = await make_plan(one)
        for number in range(1, STARTS + 1):
            start = time.perf_counter()
            async with open_container(plan, number) as container:
                figures["started"].append(time.perf_counter() - start)
                await reached(container)
                figures["answers"].append(time.perf_counter() - start)
                for name, act in (("dial", dial), ("pause", pause), ("resume", resume)):
                    before = time.perf_counter()
                    await act(container)
                    figures[name].append(time.perf_counter() - before)
                before = time.perf_counter()
            figures["stopped"].append(time.perf_counter() - before)
    for name, seconds in figures.items():
        say(name, f"{median(seconds) * 1000:.1f} ms ({min(seconds) * 1000:.1f} … {max(seconds) * 1000:.1f})")


async def reached(container):
    """Until it takes a connection."""
    while True:
        try:
            return await dial(container)
        except Exception:  # noqa: BLE001 - not yet
            await trio.sleep(0.002)


async def dial(container):
    """A connection, and away with it."""
    (await container.dial()).close()


async def pause(container):
    """Freeze."""
    await container.pause()


async def resume(container):
    """Thaw."""
    await container.resume()


def say(what, figure):
    """One line."""
    sys.stdout.write(f"{what:18} {figure}\n")
    sys.stdout.flush()


async def main(store, directory):
    """All of it."""
    async with open_machinery() as machinery, open_podman(store.served, directory) as podman:
        await compare_calls(machinery, podman)
        await time_container(podman)


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as images,
        tempfile.TemporaryDirectory() as state,
        stores.opened(Path(images)) as opened,
    ):
        trio.run(main, opened, Path(state))
