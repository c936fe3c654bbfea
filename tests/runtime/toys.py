"""Instances of a fleet that are not processes of ours: what a plug-in might bring."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import asynccontextmanager, suppress

import msgspec
import trio

from faasd_py.api import ConnectFailed, Usage, dial_tcp, open_fleet
from faasd_py.config import ReplicaSettings
from faasd_py.testing.runtime_conformance import SUBJECT

from .places import PYTHON, Log, free_port, site


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
    port = free_port()
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

    def __init__(self, kind=None):
        self._kind = kind or Actor
        self.opened, self.left, self.failures = [], [], []
        """Numbers in the order of starting and of leaving; errors to be raised by the next starts."""
        self.actors = {}
        self.answers = True
        """Whether new ones can be connected to."""
        self.statuses = {}
        """What new ones answer, by path."""

    @asynccontextmanager
    async def open(self, number):
        self.opened.append(number)
        if self.failures:
            raise self.failures.pop(0)
        async with trio.open_nursery() as nursery:
            actor = self._kind(number, nursery, self)
            self.actors[number] = actor
            try:
                yield actor
            finally:
                del self.actors[number]
                self.left.append(number)
                nursery.cancel_scope.cancel()


@asynccontextmanager
async def staged(tmp_path, *, smallest=1, largest=1, kind=None, **settings):
    """A fleet of actors, and its stage. What is emitted is in `stage.events`, the function's lines in `stage.log`."""
    stage = Stage(kind)
    settings["replicas"] = ReplicaSettings(min=smallest, max=largest)
    stage.log, stage.events = Log(), []
    place = msgspec.structs.replace(
        site(None, tmp_path, log=stage.log, **settings),
        emit=lambda event, **facts: stage.events.append((event, facts)),
    )
    async with open_fleet(place, stage.open) as fleet:
        yield fleet, stage


class Actor:
    """Refuses connections unless `answers`; each call is held until `go` is set; `end(reason)` ends it."""

    def __init__(self, number, nursery, stage):
        self.name, self.place = f"actor-{number}", "nowhere"
        self.answers, self.statuses, self.go = stage.answers, dict(stage.statuses), trio.Event()
        self.ended, self.reason = trio.Event(), ""
        self.calls, self.asked, self.cpu_seconds = 0, [], None
        self._nursery = nursery
        self.go.set()

    def end(self, reason):
        self.reason = reason
        self.ended.set()

    async def dial(self):
        await trio.lowlevel.checkpoint()
        if not self.answers:
            raise ConnectFailed("it is not listening")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        self._nursery.start_soon(self._serve, stream)
        return ours

    async def _serve(self, stream):
        async with stream:
            with suppress(trio.BrokenResourceError):
                while request := await stream.receive_some(65536):
                    path = request.split(b" ", 2)[1].decode()
                    self.asked.append(path)
                    if path == "/":
                        self.calls += 1
                        await self.go.wait()
                        self.calls -= 1
                    status = self.statuses.get(path, 200)
                    await stream.send_all(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\nok" % status)

    async def wait(self):
        await self.ended.wait()
        return self.reason

    async def usage(self):
        return None if self.cpu_seconds is None else Usage(self.cpu_seconds, 1000)


class Dozer(Actor):
    """It can stand still."""

    def __init__(self, *args):
        super().__init__(*args)
        self.paused, self.pauses, self.can_pause = False, 0, True

    async def pause(self):
        await trio.lowlevel.checkpoint()
        self.paused = self.can_pause
        self.pauses += self.can_pause
        return self.can_pause

    async def resume(self):
        await trio.lowlevel.checkpoint()
        assert self.paused
        self.paused = False
