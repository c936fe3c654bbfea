"""One process that answers one request: its pipes, its input, its end."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping
from typing import Final

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime.child import Child, Program
from faasd_py.runtime.contract import FunctionLog, Invocation, Source
from faasd_py.runtime.lines import Lines
from faasd_py.runtime.machinery import Machinery
from faasd_py.runtime.pipes import inlet, outlet, unblock

PIECE: Final = 64 << 10
_ALWAYS_FITS: Final = 4 << 10
"""The smallest that the kernel makes a pipe: a user of very many pipes gets such ones (pipe(7))."""
LINGER: Final = 0.5
"""Seconds that others of the group may go on writing the answer after the first process has ended."""


class TooLong(Exception):
    """The request does not fit into an environment."""


class Run:
    """`start`, then `more` until it is empty, then `ended`; `close` in any case.

    `on_end` is called when the first process has ended, or could not be started.
    """

    __slots__ = (
        "_log",
        "_machinery",
        "_scope",
        "_until",
        "call_id",
        "child",
        "ended",
        "lines",
        "rest",
        "stdin",
        "stdout",
    )

    def __init__(self, machinery: Machinery, log: FunctionLog, call_id: str) -> None:
        self._machinery = machinery
        self._log = log
        self.call_id = call_id
        self.child: Child | None = None
        self.ended = trio.Event()
        self.stdin = self.stdout = -1
        self.rest: bytes | Source | None = b""
        self.lines: Lines | None = None
        self._until = math.inf
        self._scope: trio.CancelScope | None = None

    async def start(
        self, program: Program, environment: Mapping[bytes, bytes], invocation: Invocation, *, combine: bool
    ) -> None:
        """Start the process; what of the body fits into a pipe is in it already.

        Raises:
            FunctionUnavailable: no process can be started now.
        """
        theirs: list[int] = []
        try:
            self._open_pipes(theirs, invocation, combine)
            fds = (theirs[0], theirs[1], theirs[-1])
            self.child = await self._machinery.spawn(program, environment, fds, self.on_running, self._on_end)
        except OSError as error:
            raise FunctionUnavailable(f"the process cannot be started: {error.strerror}") from error
        finally:
            for fd in theirs:
                if fd != self._machinery.null:
                    os.close(fd)
        if self.child.gone:
            self.on_end()

    def _open_pipes(self, theirs: list[int], invocation: Invocation, combine: bool) -> None:
        body = invocation.body
        self.rest = body if body is not None or invocation.source is None else invocation.source
        if not self.rest:
            theirs.append(self._machinery.null)
        else:
            reading, self.stdin = inlet()
            theirs.append(reading)
            self._preload()
        self.stdout, writing = outlet()
        theirs.append(writing)
        if not combine:
            errors, writing = outlet()
            self.lines = Lines(self._machinery.pump, errors, self._log, call_id=self.call_id)
            theirs.append(writing)

    def _preload(self) -> None:
        if not isinstance(self.rest, bytes) or len(self.rest) > _ALWAYS_FITS:
            unblock(self.stdin)
        if isinstance(self.rest, bytes):
            written = os.write(self.stdin, self.rest)
            self.rest = self.rest[written:]
            if not self.rest:
                self._close_stdin()

    async def feed(self) -> None:
        """The rest of the body into stdin, until it is all there or the process no longer reads."""
        try:
            if isinstance(self.rest, bytes):
                await self._write(self.rest)
            elif self.rest is not None:
                while piece := await self.rest.read():
                    await self._write(piece)
        except BrokenPipeError:
            pass
        self._close_stdin()

    async def _write(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self.stdin, view) :]
            except BlockingIOError:
                await trio.lowlevel.wait_writable(self.stdin)

    def _on_end(self) -> None:
        self._until = trio.current_time() + LINGER
        if self._scope is not None:
            self._scope.deadline = self._until
        self.on_end()

    def on_running(self) -> None:
        """The process takes its time: follow its log."""
        if self.lines is not None and self.child is not None:
            self.lines.follow(self.child)

    def on_end(self) -> None:
        """The first process has ended, or could not be started."""
        self.ended.set()

    async def more(self) -> bytes:
        """The next output; empty at its end, or LINGER seconds after the first process ended."""
        while True:
            try:
                return os.read(self.stdout, PIECE)
            except BlockingIOError:
                if not await self._readable():
                    return b""

    async def _readable(self) -> bool:
        with trio.CancelScope(deadline=self._until) as self._scope:
            await trio.lowlevel.wait_readable(self.stdout)
        caught, self._scope = self._scope.cancelled_caught, None
        return not caught

    def status(self) -> int:
        """The wait status of the first process.

        Raises:
            TooLong: the environment was larger than the system takes.
            FunctionUnavailable: it could not be started, or was lost.
        """
        child = self.child
        if child is None or child.status is None:
            if child is not None and child.too_long:
                raise TooLong
            reason = child.failure if child is not None else "not started"
            raise FunctionUnavailable(f"the process cannot be started: {reason}")
        return child.status

    def ending(self) -> str:
        """How it ended; as `status`, which is known."""
        return ending(self.child) if self.child is not None else ""

    async def close(self, grace: float) -> None:
        """Nothing of it is left: what runs gets TERM, and KILL after `grace` seconds; what lingers KILL."""
        self._close_stdin()
        child = self.child
        if child is not None and not child.gone:
            with trio.CancelScope(shield=True):
                await (self._machinery.kill(child) if child.over else self._machinery.stop(child, grace))
        if self.stdout >= 0:
            self._machinery.pump.remove(self.stdout)
            os.close(self.stdout)
            self.stdout = -1
        if self.lines is not None:
            self.lines.close(child)

    def _close_stdin(self) -> None:
        if self.stdin >= 0:
            os.close(self.stdin)
            self.stdin = -1


def ending(child: Child) -> str:
    """How its first process ended, and what it was killed for, if that is known; `status` is set."""
    status = child.status or 0
    if child.cause and os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return f"killed: {child.cause}"
    return describe(status) + (f", after a process of it was killed: {child.cause}" if child.cause else "")


def describe(status: int) -> str:
    """A wait status as Go says it: `exit status 3`, `signal: killed`."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exit status {code}"
    name = signal.strsignal(-code)
    core = " (core dumped)" if os.WCOREDUMP(status) else ""
    return f"signal: {name.lower() if name else -code}{core}"
