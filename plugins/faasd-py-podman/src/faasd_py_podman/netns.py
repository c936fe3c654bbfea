"""Sockets in the network namespaces of other processes: how a container without a network is reached.

A thread belongs to one network namespace, and a socket to that of the thread that made it; once made, it may be used
from anywhere. So one thread, which does nothing else, moves from namespace to namespace and makes sockets. It never comes back
to the daemon's own: whatever else it did would be done in a function's.
"""

from __future__ import annotations

import ctypes
import os
import queue
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from faasd_py.api import ConnectFailed

_CLONE_NEWNET: Final = 0x40000000
_LOOPBACK: Final = "127.0.0.1"


class _Errand:
    """One socket that is wanted, in the namespace of the process behind `pidfd`, which is the errand's own."""

    def __init__(self, pidfd: int) -> None:
        self.pidfd = pidfd
        self.token = trio.lowlevel.current_trio_token()
        self.done = trio.Event()
        self.abandoned = False
        self.made: socket.socket | None = None
        self.failure: OSError | None = None

    def deliver(self) -> None:
        """In trio's thread: whoever waits is told; nobody waits any more: it is closed."""
        if self.abandoned and self.made is not None:
            self.made.close()
        self.done.set()


class Sockets:
    """The thread; `open_sockets` starts and ends it."""

    def __init__(self) -> None:
        self._errands: queue.SimpleQueue[_Errand | None] = queue.SimpleQueue()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._thread = threading.Thread(target=self._work, name="faasd-py-podman netns", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self) -> None:
        """End it, when it has done what it was asked for."""
        self._errands.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (errand := self._errands.get()) is not None:
            try:
                self._enter(errand.pidfd)
                errand.made = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            except OSError as error:
                errand.failure = error
            finally:
                os.close(errand.pidfd)
            try:
                errand.token.run_sync_soon(errand.deliver)
            except trio.RunFinishedError:
                if errand.made is not None:
                    errand.made.close()

    def _enter(self, pidfd: int) -> None:
        if self._libc.setns(pidfd, _CLONE_NEWNET):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    async def make(self, pidfd: int) -> socket.socket:
        """A TCP socket, non-blocking and not connected, in the namespace of that process.

        Raises:
            OSError: the process has ended (ESRCH), or we may not (EPERM: it takes CAP_SYS_ADMIN).
        """
        errand = _Errand(os.dup(pidfd))
        self._errands.put(errand)
        try:
            await errand.done.wait()
        except BaseException:
            errand.abandoned = True
            if errand.done.is_set():
                errand.deliver()
            raise
        if errand.made is None:
            raise errand.failure or OSError("no socket")
        return errand.made

    async def dial(self, pidfd: int, port: int) -> socket.socket:
        """A connection to 127.0.0.1:PORT as that process sees it; non-blocking.

        Raises:
            ConnectFailed: nobody listens there, or the process has ended.
        """
        try:
            made = await self.make(pidfd)
        except OSError as error:
            raise ConnectFailed(f"the container's network cannot be entered: {error.strerror}") from error
        try:
            await _connect(made, port)
        except BaseException:
            made.close()
            raise
        return made


async def _connect(made: socket.socket, port: int) -> None:
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        made.connect((_LOOPBACK, port))
    except BlockingIOError:
        await trio.lowlevel.wait_writable(made)
        if number := made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR):
            raise ConnectFailed(f"port {port} of the container: {os.strerror(number)}") from None
    except OSError as error:
        raise ConnectFailed(f"port {port} of the container: {error.strerror}") from error


@contextmanager
def open_sockets() -> Iterator[Sockets]:
    """One thread for all containers of a daemon."""
    sockets = Sockets()
    sockets.start()
    try:
        yield sockets
    finally:
        sockets.close()


def may_enter() -> bool:
    """Whether this process has CAP_SYS_ADMIN, without which no namespace can be entered."""
    with open("/proc/self/status", "rb") as status:  # noqa: PTH123 - procfs
        for line in status:
            if line.startswith(b"CapEff:"):
                return bool(int(line.split()[1], 16) >> 21 & 1)
    return False
