"""What the built-in runtimes of one daemon share: the spawn helper, the pump, and a nursery.

The helper (`spawner.py`) is started when the first process is wanted, by posix_spawn: the daemon, which is big, never
forks. Should it die, its processes are killed, their calls fail, and the next call starts another.
"""

from __future__ import annotations

import array
import errno
import logging
import marshal
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime import spawner
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.pump import Pump

log: Final = logging.getLogger("faasd_py.runtime")
_KILLED_WITHIN: Final = 5.0
_HELPER_ENDS_WITHIN: Final = 6.0


class Program:
    """What is started again and again: told to the helper once."""

    __slots__ = ("definition", "number")

    def __init__(
        self, number: int, path: str, argv: Sequence[str], environment: Mapping[bytes, bytes], directory: str, open_files: int
    ) -> None:
        self.number = number
        self.definition: spawner.Definition = (
            os.fsencode(path),
            [os.fsencode(word) for word in argv],
            dict(environment),
            os.fsencode(directory),
            open_files,
        )


class Child:
    """A process group that the helper started.

    `pid` is 0 until the helper said it; `status` is the wait status of its first process, None while that runs;
    `failure` says why it could not start, or was lost. `gone`: no process of it is left. `on_end` is called when the
    first process ended, or failed to start; `on_running` when it has run for some milliseconds.
    """

    __slots__ = ("failure", "gone", "ident", "on_end", "on_running", "pid", "status", "too_long", "vanished")

    def __init__(self, ident: int, on_running: Callable[[], None], on_end: Callable[[], None]) -> None:
        self.ident = ident
        self.on_running = on_running
        self.on_end = on_end
        self.pid = 0
        self.status: int | None = None
        self.failure = ""
        self.too_long = False
        self.gone = False
        self.vanished: trio.Event | None = None

    @property
    def over(self) -> bool:
        """Its first process has ended, or never was."""
        return self.gone or self.status is not None

    def end(self) -> None:
        """Nothing of it is left."""
        self.gone = True
        if self.vanished is not None:
            self.vanished.set()

    def __repr__(self) -> str:
        state = self.failure or ("running" if self.status is None else f"status {self.status}")
        return f"<Child {self.ident} pid={self.pid} {state}{' gone' if self.gone else ''}>"


class Machinery:
    """Starts and stops processes. One for a daemon; `open_machinery` makes it."""

    def __init__(self, nursery: trio.Nursery, pump: Pump) -> None:
        self.nursery = nursery
        self.pump = pump
        self.null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._wire: socket.socket | None = None
        self._helper = 0
        self._told: set[int] = set()
        self._children: dict[int, Child] = {}
        self._numbers = count(1)
        self._turn = trio.Lock()
        self._buffer = bytearray(spawner.MAX_MESSAGE)

    @property
    def helper(self) -> int:
        """The helper's pid, 0 while there is none."""
        return self._helper

    @property
    def children(self) -> int:
        """Process groups that are not known to be gone."""
        return len(self._children)

    def program(
        self, path: str, argv: Sequence[str], environment: Mapping[bytes, bytes], directory: str, open_files: int = 0
    ) -> Program:
        """Something to start: the environment given here is the base of each process's own."""
        return Program(next(self._numbers), path, argv, environment, directory, open_files)

    async def forget(self, program: Program) -> None:
        """It will not be started again."""
        if program.number in self._told:
            self._told.discard(program.number)
            await self._send((spawner.FORGET, program.number))

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
            FunctionUnavailable: the helper cannot be reached.
        """
        child = Child(next(self._numbers), on_running, on_end)
        self._children[child.ident] = child
        definition = None if self._wire and program.number in self._told else program.definition
        try:
            await self._send((spawner.RUN, child.ident, program.number, definition, environment), fds)
        except BaseException as error:
            del self._children[child.ident]
            if isinstance(error, OSError) and error.errno == errno.EMSGSIZE:
                child.failure, child.too_long = "its headers are too large for an environment", True
                child.gone = True
                return child
            if isinstance(error, OSError):
                raise FunctionUnavailable(f"the process cannot be started: {error.strerror}") from error
            raise
        self._told.add(program.number)
        return child

    async def stop(self, child: Child, grace: float) -> None:
        """TERM to the group, KILL after `grace` seconds; returns when nothing of it is left."""
        if child.gone:
            return
        child.vanished = trio.Event()
        await self._send((spawner.STOP, child.ident, grace))
        with trio.move_on_after(grace + _KILLED_WITHIN):
            await child.vanished.wait()
        if not child.gone:
            log.error("process group %d does not end, not even by KILL", child.pid)

    async def kill(self, child: Child) -> None:
        """KILL to what is left of the group, without waiting."""
        if not child.gone:
            await self._send((spawner.KILL, child.ident))

    async def _send(self, message: tuple[Any, ...], fds: Sequence[int] = ()) -> None:
        data = marshal.dumps(message)
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        if not self._turn.locked():
            with suppress(BlockingIOError):
                return self._send_now(data, ancillary)
        async with self._turn:
            while True:
                with suppress(BlockingIOError):
                    return self._send_now(data, ancillary)
                if self._wire is not None:
                    await trio.lowlevel.wait_writable(self._wire.fileno())

    def _send_now(self, data: bytes, ancillary: list[Any]) -> None:
        wire = self._wire or self._start()
        try:
            wire.sendmsg([data], ancillary)
        except (BrokenPipeError, ConnectionResetError):
            self._lost()
            raise FunctionUnavailable("the process that starts functions has ended; another is started") from None

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            argv = [sys.executable, "-I", "-S", "-E", str(Path(spawner.__file__)), "3"]
            actions = [
                (os.POSIX_SPAWN_DUP2, self.null, 0),
                (os.POSIX_SPAWN_DUP2, self.null, 1),
                (os.POSIX_SPAWN_DUP2, theirs.fileno(), 3),
            ]
            self._helper = os.posix_spawn(
                sys.executable, argv, {"PATH": os.defpath},
                file_actions=actions, setpgroup=0, setsigmask=(), setsigdef=(signal.SIGPIPE,),
            )  # fmt: skip
        ours.setblocking(False)
        self._wire = ours
        self.pump.add(ours.fileno(), self._receive)
        return ours

    def _receive(self) -> None:
        """Reports of the helper: many in one message."""
        if self._wire is None:
            return
        try:
            size = self._wire.recv_into(self._buffer)
        except BlockingIOError:
            return
        except OSError:
            size = 0
        if not size:
            self._lost()
            return
        for report in marshal.loads(self._buffer):  # noqa: S302 - from our own helper, on a private socketpair
            child = self._children.get(report[1])
            if child is not None:
                self._heard(child, report)

    def _heard(self, child: Child, report: tuple[int, ...]) -> None:
        kind = report[0]
        if kind == spawner.RUNNING:
            child.pid = report[2]
            child.on_running()
        elif kind == spawner.EXITED:
            child.pid, child.status = report[2:4]
            if not report[4]:
                self._gone(child)
            child.on_end()
        elif kind == spawner.FAILED:
            child.too_long = report[2] == errno.E2BIG
            child.failure = f"{'its working directory: ' if report[3] else ''}{os.strerror(report[2])}"
            self._gone(child)
            child.on_end()
        else:
            self._gone(child)

    def _gone(self, child: Child) -> None:
        del self._children[child.ident]
        child.end()

    def _lost(self) -> None:
        """The helper has ended: kill what it left, and let every call know."""
        if self._wire is None:
            return
        self._disconnect()
        log.error("the process that starts functions (pid %d) has ended; another is started with the next call", self._helper)
        self.nursery.start_soon(_collect, self._helper)
        self._helper = 0
        for child in list(self._children.values()):
            if child.pid:
                with suppress(OSError):
                    os.killpg(child.pid, signal.SIGKILL)
            child.failure = "the process that starts functions has ended"
            self._gone(child)
            child.on_end()

    def _disconnect(self) -> None:
        if self._wire is not None:
            self.pump.remove(self._wire.fileno())
            self._wire.close()
            self._wire = None
            self._told.clear()

    async def aclose(self) -> None:
        """Every process is killed, and the helper has ended."""
        self._disconnect()
        os.close(self.null)
        if self._helper:
            await _collect(self._helper)


async def _collect(pid: int) -> None:
    """Reap the helper; KILL it if it does not end by itself."""
    pidfd = os.pidfd_open(pid)
    try:
        with trio.CancelScope(shield=True), trio.move_on_after(_HELPER_ENDS_WITHIN):
            await trio.lowlevel.wait_readable(pidfd)
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await trio.lowlevel.wait_readable(pidfd)
        os.waitpid(pid, os.WNOHANG)  # noqa: ASYNC222 - does not block
    finally:
        os.close(pidfd)


@asynccontextmanager
async def open_machinery() -> AsyncIterator[Machinery]:
    """The machinery, until the block ends; then every process that it started is gone."""
    async with open_nursery() as nursery:
        pump = Pump()
        machinery = Machinery(nursery, pump)
        nursery.start_soon(pump.run)
        try:
            yield machinery
        finally:
            with trio.CancelScope(shield=True):
                await machinery.aclose()
            nursery.cancel_scope.cancel()
