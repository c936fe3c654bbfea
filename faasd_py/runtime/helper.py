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
from typing import Any, Final

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime import session, spawner
from faasd_py.runtime.child import Child
from faasd_py.runtime.pump import Pump

log: Final = logging.getLogger("faasd_py.runtime")
LOST: Final = "the process that starts functions has ended"
_ENDS_WITHIN: Final = 6.0


class Helper:
    """A helper process, and the children that it has in hand.

    Should it die, its children are killed and told so, and `on_lost` is called.
    """

    def __init__(self, pump: Pump, null: int, on_lost: Callable[[Helper], None]) -> None:
        self.children: dict[int, Child] = {}
        self.told: set[int] = set()
        self.ready = False
        self._pump = pump
        self._on_lost = on_lost
        self._turn = trio.Lock()
        self._buffer = bytearray(spawner.MAX_MESSAGE)
        self._wire, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._wire.setblocking(False)
        with theirs:
            self.pid = _start(theirs.fileno(), null)
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
            raise FunctionUnavailable(LOST)
        try:
            self._wire.sendmsg([data], ancillary)
        except (BrokenPipeError, ConnectionResetError):
            self._lost()
            raise FunctionUnavailable(LOST) from None

    def _receive(self) -> None:
        """Reports: many in one message."""
        if not self.connected:
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
        self.ready = True
        for report in marshal.loads(self._buffer):  # noqa: S302 - from our own helper, on a private socketpair
            child = self.children.get(report[1])
            if child is not None:
                self._heard(child, report)

    def _heard(self, child: Child, report: tuple[int, ...]) -> None:
        kind = report[0]
        if kind == spawner.EXITED:
            child.pid, child.status = report[2:4]
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

    def _gone(self, child: Child) -> None:
        del self.children[child.ident]
        child.end()

    def _lost(self) -> None:
        if not self.connected:
            return
        self._disconnect()
        log.error("%s (pid %d); another is started with the next call", LOST, self.pid)
        session.end(self.pid)
        for child in list(self.children.values()):
            child.failure = LOST
            self._gone(child)
            child.on_end()
        self._on_lost(self)

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
            session.end(self.pid)
        finally:
            os.close(pidfd)


def _start(wire: int, null: int) -> int:
    argv = [sys.executable, "-I", "-S", "-E", str(Path(spawner.__file__)), "3"]
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in ((0, null), (1, null), (3, wire))]
    return os.posix_spawn(
        sys.executable, argv, {"PATH": os.defpath},
        file_actions=actions, setsid=True, setsigmask=(), setsigdef=(signal.SIGPIPE,),
    )  # fmt: skip
