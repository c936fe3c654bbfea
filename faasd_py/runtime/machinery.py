"""What the built-in runtimes of one daemon share: the spawn helpers, the pump, ports, and a nursery.

A helper (`spawner.py`) is started when the first process is wanted, a second one when the first is busy: while a process
is being born its parent stands still. A function that is confined has a helper of its own (`confine/runner.py`), which is
started with its first process. The daemon, which is big, never forks. Should a helper die, its processes are
killed, their calls fail, and the next call starts another.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Final

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime import spawner
from faasd_py.runtime.child import Child, Program
from faasd_py.runtime.confine.bounds import Bounds
from faasd_py.runtime.confine.confiner import Confiner
from faasd_py.runtime.confine.host import Host, with_groups, without_groups
from faasd_py.runtime.helper import Helper
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.ports import Ports
from faasd_py.runtime.pump import Pump
from faasd_py.runtime.runners import Runners
from faasd_py.runtime.sessions import Sessions
from faasd_py.runtime.usages import Usages

log: Final = logging.getLogger("faasd_py.runtime")
_KILLED_WITHIN: Final = 5.0
_HEARD_WITHIN: Final = 5.0
_MOST_HELPERS: Final = 2
_BUSY: Final = 3
"""Processes in hand from which on a second helper is worth its 8 MB."""


class Machinery:
    """Starts and stops processes. One for a daemon; `open_machinery` makes it."""

    def __init__(
        self,
        nursery: trio.Nursery,
        pump: Pump,
        confiner: Confiner,
        emit: Callable[..., None],
        sessions: Sessions,
    ) -> None:
        self.nursery = nursery
        self.pump = pump
        self.ports = Ports()
        self.usages = Usages()
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self.confiner = confiner
        self.emit = emit
        self._sessions = sessions
        self._helpers: list[Helper] = []
        self._runners = Runners(confiner, pump, self.null, nursery, sessions, self._killed)
        self._most = min(_MOST_HELPERS, os.cpu_count() or 1)
        self._numbers = count(1)

    @property
    def helpers(self) -> list[int]:
        """The pids of the helpers, runners included."""
        return [helper.pid for helper in self._all()]

    def _all(self) -> list[Helper]:
        return [*self._helpers, *self._runners.helpers]

    @property
    def children(self) -> list[Child]:
        """Process groups that are not known to be gone."""
        return [child for helper in self._all() for child in helper.children.values()]

    def program(
        self,
        path: str,
        argv: Sequence[str],
        environment: Mapping[bytes, bytes],
        directory: str,
        open_files: int = 0,
        bounds: Bounds | None = None,
    ) -> Program:
        """Something to start, until `forget`: the environment given here is the base of each process's own."""
        if bounds is not None:
            self._runners.hold(bounds)
        return Program(next(self._numbers), path, argv, environment, directory, open_files, bounds)

    async def forget(self, program: Program) -> None:
        """It will not be started again."""
        for helper in self._all():
            if program.number in helper.told:
                helper.told.discard(program.number)
                with suppress(FunctionUnavailable), trio.move_on_after(_HEARD_WITHIN):
                    await helper.send((spawner.FORGET, program.number))
        if program.bounds is not None:
            await self._runners.release(program.bounds)

    def confines(self, pid: int) -> bool:
        """Whether this process is a confined function's; one that cannot be looked at counts as such."""
        return self._runners.confines(pid)

    async def spawn(
        self,
        program: Program,
        environment: Mapping[bytes, bytes],
        fds: tuple[int, int, int],
        on_running: Callable[[], None],
        on_end: Callable[[], None],
    ) -> Child:
        """Start it with these three streams, which stay the caller's to close.

        `on_end` hears of its end and of a failure to start, which leaves `failure` set (`too_long`: the environment is
        larger than the system takes). `on_running` hears of it if it has not ended soon: a reader of its pipes need not
        wait for them before.

        Raises:
            FunctionUnavailable: no helper can be reached.
        """
        helper = self._pick() if program.bounds is None else self._runners.pick(program.bounds)
        child = Child(next(self._numbers), on_running, on_end)
        child.helper = helper
        helper.children[child.ident] = child
        definition = None if program.number in helper.told else program.definition
        try:
            await helper.send((spawner.RUN, child.ident, program.number, definition, environment), fds)
        except BaseException as error:
            helper.children.pop(child.ident, None)
            child.end()
            if isinstance(error, OSError) and error.errno == errno.EMSGSIZE:
                child.failure, child.too_long = os.strerror(errno.E2BIG), True
                return child
            if isinstance(error, OSError):
                raise FunctionUnavailable(f"the process cannot be started: {error.strerror}") from error
            raise
        helper.told.add(program.number)
        return child

    def _pick(self) -> Helper:
        """The least busy helper; a new one when all are busy, which serves once it has come up."""
        ready = [helper for helper in self._helpers if helper.ready] or self._helpers
        best = min(ready, key=lambda helper: len(helper.children), default=None)
        if best is None or (len(best.children) >= _BUSY and len(self._helpers) < self._most):
            try:
                helper = Helper(self.pump, self.null, self._lost, self._sessions)
            except OSError as error:
                if best is None:
                    raise FunctionUnavailable(f"no process can be started: {error.strerror}") from error
            else:
                self._helpers.append(helper)
                best = best or helper
        return best

    def _lost(self, helper: Helper) -> None:
        self._helpers.remove(helper)
        self.nursery.start_soon(helper.aclose)

    def _killed(self, bounds: Bounds, pid: int) -> None:
        log.warning("%s: process %d: killed: memory limit of %s", bounds.name, pid, bounds.memory)
        self.emit("function.out_of_memory", function=bounds.name, pid=pid, limit=bounds.memory)

    async def stop(self, child: Child, grace: float) -> None:
        """TERM to the group, KILL after `grace` seconds; returns when nothing of it is left."""
        if child.gone or child.helper is None:
            return
        child.vanished = trio.Event()
        with trio.move_on_after(grace + _KILLED_WITHIN):
            with suppress(FunctionUnavailable):  # its helper is gone, and so is the child
                await child.helper.send((spawner.STOP, child.ident, float(grace)))
            await child.vanished.wait()
        if not child.gone:
            log.error("process group %d does not end, not even by KILL", child.pid)

    async def kill(self, child: Child) -> None:
        """KILL to what is left of the group, without waiting."""
        if not child.gone and child.helper is not None:
            with suppress(FunctionUnavailable), trio.move_on_after(_HEARD_WITHIN):
                await child.helper.send((spawner.KILL, child.ident))

    async def pause(self, child: Child) -> bool:
        """Let the group stand still (SIGSTOP) until `resume`, `stop` or `kill`; False when it has ended."""
        return await self._signal(child, spawner.PAUSE)

    async def resume(self, child: Child) -> bool:
        """Let it go on; False when it has ended."""
        return await self._signal(child, spawner.RESUME)

    async def _signal(self, child: Child, request: int) -> bool:
        if child.over or child.helper is None:
            return False
        with suppress(FunctionUnavailable):  # its helper is gone, and so is the child
            await child.helper.send((request, child.ident))
            return True
        return False

    async def aclose(self) -> None:
        """Every process is killed, and the helpers have ended."""
        helpers, self._helpers = [*self._helpers, *self._runners.take_all()], []
        async with trio.open_nursery() as nursery:
            for helper in helpers:
                nursery.start_soon(helper.aclose)
        os.close(self.null)


@asynccontextmanager
async def open_machinery(
    confiner: Confiner | None = None,
    emit: Callable[..., None] = lambda *_, **__: None,
    directory: Path | None = None,
) -> AsyncIterator[Machinery]:
    """The machinery, until the block ends; then every process that it started is gone.

    Without a `confiner` there are no control groups. `emit` takes an event's name and its facts. With a `directory`, which is
    this daemon's alone, what an earlier one left behind is ended first.
    """
    sessions = Sessions(directory)
    if left := await trio.to_thread.run_sync(sessions.end_leftovers):
        log.warning("%d processes of functions were left behind by an earlier daemon: they are killed", left)
    async with open_nursery() as nursery:
        pump = Pump()
        machinery = Machinery(nursery, pump, confiner or Confiner(_no_groups()), emit, sessions)
        nursery.start_soon(pump.run)
        try:
            yield machinery
        finally:
            with trio.CancelScope(shield=True):
                await machinery.aclose()
            pump.stop()


def _no_groups() -> Host:
    return with_groups(without_groups(), set(), "control groups are not set up")
