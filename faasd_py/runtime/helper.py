"""The daemon's end of one spawn helper (`spawner.py`): requests out, reports in."""

from __future__ import annotations

import array
import errno
import logging
import marshal
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime import session, spawner
from faasd_py.runtime.child import Child
from faasd_py.runtime.confine import runner
from faasd_py.runtime.confine.cgroup import Group
from faasd_py.runtime.pump import Pump
from faasd_py.runtime.sessions import Sessions

log: Final = logging.getLogger("faasd_py.runtime")
LOST: Final = "the process that starts functions has ended"
_ENDS_WITHIN: Final = 6.0


class Helper:
    """A helper process, and the children that it has in hand.

    Should it die, its children are killed and told so, and `on_lost` is called. With a `spec` it is the runner of one
    function, in the control `group` if there is one; `on_killed` hears of processes that ended for lack of `memory`.
    """

    def __init__(
        self,
        pump: Pump,
        null: int,
        on_lost: Callable[[Helper], None],
        sessions: Sessions,
        *,
        spec: runner.Spec | None = None,
        group: Group | None = None,
        memory: str = "",
        on_killed: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.children: dict[int, Child] = {}
        self.told: set[int] = set()
        self.ready = False
        self.group = group
        self._memory = memory if group is not None else ""
        self._on_killed = on_killed
        self._refusal = ""
        self._pump = pump
        self._on_lost = on_lost
        self._sessions = sessions
        self._turn = trio.Lock()
        self._buffer = bytearray(spawner.MAX_MESSAGE)
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._wire.setblocking(False)
        with theirs:
            self.pid = _start(theirs.fileno(), null, spawner if spec is None else runner)
        sessions.note(self.pid)
        if spec is not None:
            self._wire.send(marshal.dumps(cast("Any", spec)))
        pump.add(self._wire.fileno(), self._receive)

    @property
    def connected(self) -> bool:
        """It is not known to have ended."""
        return self._wire.fileno() >= 0

    async def send(self, message: tuple[Any, ...], fds: Sequence[int] = ()) -> None:
        """Send a request; it is a checkpoint only when the helper is behind.

        Raises:
            FunctionUnavailable: the helper has ended.
            OSError: EMSGSIZE: the message is too large.
        """
        data = marshal.dumps(message)
        if len(data) > spawner.MAX_MESSAGE:
            raise OSError(errno.EMSGSIZE, os.strerror(errno.EMSGSIZE))
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        if not self._turn.locked():
            with suppress(BlockingIOError):
                return self._send_now(data, ancillary)
        async with self._turn:
            while True:
                with suppress(BlockingIOError):
                    return self._send_now(data, ancillary)
                with suppress(trio.ClosedResourceError):
                    await trio.lowlevel.wait_writable(self._wire.fileno())

    def _send_now(self, data: bytes, ancillary: list[Any]) -> None:
        if not self.connected:
            raise FunctionUnavailable(self._why)
        try:
            self._wire.sendmsg([data], ancillary)
        except (BrokenPipeError, ConnectionResetError):
            self._receive()  # what it said last
            self._lost()
            raise FunctionUnavailable(self._why) from None

    @property
    def _why(self) -> str:
        return f"it cannot be confined: {self._refusal}" if self._refusal else LOST

    def _receive(self) -> None:
        """Reports: many in one message."""
        if not self.connected:
            return
        try:
            size = self._next()
        except BlockingIOError:
            return
        if not size:
            self._lost()
            return
        for report in marshal.loads(self._buffer):  # noqa: S302 - from our own helper, on a private socketpair
            self._hear(report)

    def _next(self) -> int:
        """The length of the next message, which is in the buffer then; 0 when there will be none.

        One that ended before it had read everything is told of by an error, before what it said last (unix(7)).
        """
        for _ in range(2):
            with suppress(ConnectionResetError):
                return self._wire.recv_into(self._buffer)
        return 0

    def _hear(self, report: tuple[Any, ...]) -> None:
        if report[0] == spawner.READY:
            self.ready = True
        elif report[0] == spawner.REFUSED:
            self._refusal = report[2]
        else:
            child = self.children.get(report[1])
            if child is not None:
                self._heard(child, report)

    def _heard(self, child: Child, report: tuple[int, ...]) -> None:
        kind = report[0]
        if kind == spawner.EXITED:
            child.pid, child.status = report[2:4]
            if self._memory:
                self._look_why(child)
            if not report[4]:
                self._gone(child)
            child.on_end()
        elif kind == spawner.RUNNING:
            child.pid = report[2]
            child.on_running()
        elif kind == spawner.FAILED:
            child.too_long = report[2] == errno.E2BIG
            child.failure = f"{'its working directory: ' if report[3] else ''}{os.strerror(report[2])}"
            self._gone(child)
            child.on_end()
        else:
            self._gone(child)

    def _look_why(self, child: Child) -> None:
        """Did it fail because of its memory? One that did not leaves the answer to the others that run."""
        if (child.status or len(self.children) == 1) and self.group is not None:
            killed = self.group.killed_for_memory()
            if killed and child.status:
                child.cause = f"memory limit of {self._memory}"
                self._on_killed(child.pid)

    def _gone(self, child: Child) -> None:
        del self.children[child.ident]
        child.end()

    def _lost(self) -> None:
        if not self.connected:
            return
        self._disconnect()
        if self._refusal:
            log.error("a function cannot be confined: %s", self._refusal)
        else:
            log.error("%s (pid %d); another is started with the next call", LOST, self.pid)
        self._end_rest()
        for child in list(self.children.values()):
            child.failure = self._why
            self._gone(child)
            child.on_end()
        self._on_lost(self)

    def _end_rest(self) -> None:
        """Nobody of it runs on, not even what made a session of its own, if there is a control group."""
        if self.group is not None:
            self.group.kill()
        session.end(self.pid)

    def _disconnect(self) -> None:
        self._pump.remove(self._wire.fileno())
        trio.lowlevel.notify_closing(self._wire.fileno())
        self._wire.close()

    async def aclose(self) -> None:
        """It has ended, and every process that it started."""
        if self.connected:
            self._disconnect()
        pidfd = os.pidfd_open(self.pid)
        try:
            with trio.CancelScope(shield=True), trio.move_on_after(_ENDS_WITHIN):
                await trio.lowlevel.wait_readable(pidfd)
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await trio.lowlevel.wait_readable(pidfd)
            os.waitpid(self.pid, os.WNOHANG)  # noqa: ASYNC222 - does not block
            self._end_rest()
            if self.group is not None:
                with trio.CancelScope(shield=True):
                    await self.group.remove()
            self._sessions.forget(self.pid)
        finally:
            os.close(pidfd)


def _start(wire: int, null: int, program: ModuleType) -> int:
    argv = [sys.executable, "-I", "-S", "-E", str(Path(program.__file__ or "")), "3"]
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in ((0, null), (1, null), (3, wire))]
    return os.posix_spawn(
        sys.executable, argv, {"PATH": os.defpath},
        file_actions=actions, setsid=True, setsigmask=(), setsigdef=(signal.SIGPIPE,),
    )  # fmt: skip
