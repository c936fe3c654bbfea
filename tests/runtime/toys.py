"""Instances of a fleet that are not processes of ours: what a plug-in might bring."""

from __future__ import annotations

import os
import subprocess
from contextlib import asynccontextmanager

import trio

from faasd_py.api import ConnectFailed, Usage, dial_tcp
from faasd_py.runtime.ports import Ports
from faasd_py.testing.runtime_conformance import SUBJECT

from .places import PYTHON


class Toy:
    """A server on a port, started without the machinery."""

    def __init__(self, number, process, port):
        self.number, self.process = number, process
        self.name, self.place = f"toy-{number}", f"127.0.0.1:{port}"
        self.dial = dial_tcp("127.0.0.1", port, 5.0)

    async def wait(self):
        await self.process.wait()
        return f"the toy ended with {self.process.returncode}"

    async def usage(self):
        return Usage(cpu_seconds=1.5, memory_bytes=1000)


@asynccontextmanager
async def open_toy(number):
    """An `OpenInstance` of the conformance suite's subjects."""
    port = Ports().take()
    process = await trio.lowlevel.open_process(
        [*PYTHON, SUBJECT, "serve"], env=os.environ | {"PORT": str(port)}, stderr=subprocess.DEVNULL
    )
    try:
        yield Toy(number, process, port)
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


class Stage:
    """An `OpenInstance` whose instances do as they are told, without any process."""

    def __init__(self):
        self.opened, self.left, self.failures = [], [], []
        """Numbers in the order of starting and of leaving; errors to be raised by the next starts."""
        self.actors = {}

    @asynccontextmanager
    async def open(self, number):
        self.opened.append(number)
        if self.failures:
            raise self.failures.pop(0)
        self.actors[number] = actor = Actor(number)
        try:
            yield actor
        finally:
            del self.actors[number]
            self.left.append(number)


class Actor:
    """Refuses connections until `answers` is set; `end(reason)` ends it."""

    def __init__(self, number):
        self.name, self.place = f"actor-{number}", "nowhere"
        self.answers = True
        self.ended, self.reason = trio.Event(), ""

    def end(self, reason):
        self.reason = reason
        self.ended.set()

    async def dial(self):
        """A socket whose other end is closed at once."""
        await trio.lowlevel.checkpoint()
        if not self.answers:
            raise ConnectFailed("it is not listening")
        ours, theirs = trio.socket.socketpair()
        theirs.close()
        return ours._sock

    async def wait(self):
        await self.ended.wait()
        return self.reason

    async def usage(self):
        return None
