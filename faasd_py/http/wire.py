"""What a connection's bytes travel on. Two kinds: a plain socket here, TLS in tls.py.

The nowait verbs are tried first and never block; the others wait. A broken wire raises OSError from every verb.
`readable` and `writable` are plain functions that return what is to be awaited: each coroutine between a task and
trio's wait costs a tenth of a microsecond at every wake-up.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio
from trio import lowlevel
from trio.lowlevel import Abort, Task, current_task, wait_readable, wait_task_rescheduled, wait_writable

from faasd_py.http.bell import bell

SMALL: Final = 64 * 1024
"""How much is read at once while messages are small: a larger buffer costs more to allocate than to fill."""
LARGE: Final = 256 * 1024
"""How much is read at once, and held, while a body streams."""


class Wire(Protocol):
    """Four verbs and their nowait forms."""

    fd: int
    cut: bool
    """The end came unannounced where the wire announces it (TLS): what lasts until the end is not whole."""

    def receive_nowait(self, limit: int) -> bytes | None:
        """What has arrived, empty at the end, None when nothing has."""

    def readable(self) -> Awaitable[object]:
        """Until something has arrived, or the end."""

    async def receive(self, limit: int) -> bytes:
        """Wait for bytes; empty at the end."""

    def send_nowait(self, data: bytes | memoryview) -> int:
        """How many of the bytes went out; 0 when none can now."""

    async def send(self, data: bytes | memoryview) -> int:
        """Wait until some can go out, then as above."""

    def quiet(self) -> bool:
        """Nobody should say anything now: nothing has arrived, not even the end."""

    async def handshake(self) -> None:
        """Whatever must be done before the first byte."""

    async def send_eof(self) -> None:
        """Say that no more will be sent; receiving goes on."""

    def shutdown(self) -> None:
        """Wake whoever waits on this wire: it is over, in both directions."""

    def announce_end(self) -> None:
        """All that was to be sent was sent: say so where the wire has a word for it. Never blocks, never raises."""

    def close(self) -> None:
        """Give the file descriptor back."""


class PlainWire:
    """A connected stream socket, non-blocking. Only one task at a time may wait for bytes."""

    cut = False
    __slots__ = (
        "_alone", "_bell", "_poll", "_receive", "_send", "_shared", "_sock", "ended", "fd", "rung", "sleeper",
    )  # fmt: skip

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._receive = sock.recv
        self._send = sock.send
        self._poll: Callable[[float], list[tuple[int, int]]] | None = None
        self.fd = sock.fileno()
        self.sleeper: Task | None = None
        self.rung = False
        self.ended = False
        self._shared = False
        """The bell rings for it."""
        self._alone = False
        """It is waited for by itself."""
        self._bell = bell()

    def receive_nowait(self, limit: int) -> bytes | None:
        """See Wire. Only a full read leaves bytes behind that no bell will ring for (epoll(7), question 9)."""
        if self._alone:
            self._come_back()
        try:
            data = self._receive(limit)
        except BlockingIOError:
            self.rung = False
            return None
        self.rung = len(data) == limit
        return data

    async def receive(self, limit: int) -> bytes:
        """See Wire. Waits first: it is called when nothing had arrived a moment ago."""
        while True:
            await self.readable()
            data = self.receive_nowait(limit)
            if data is not None:
                return data

    def readable(self) -> Awaitable[object]:
        """See Wire."""
        if self.rung or self.ended:
            return lowlevel.checkpoint()  # noqa: ASYNC105 - the caller awaits it
        if self.sleeper is not None:
            raise trio.BusyResourceError("another task is already reading from this connection")
        if self._shared is not self._bell.shared:
            self._change_sides()
        if not self._shared:
            return self._wait_alone()
        self.sleeper = current_task()
        return wait_task_rescheduled(self._abort)  # noqa: ASYNC105 - the caller awaits it

    def _wait_alone(self) -> Awaitable[object]:
        if not self._alone:
            self._alone = True
            self._bell.wait_alone()
        return wait_readable(self.fd)  # noqa: ASYNC105 - the caller awaits it

    def _come_back(self) -> None:
        """It was waited for by itself, and is no longer."""
        self._alone = False
        self._bell.alone -= 1

    def _change_sides(self) -> None:
        if self._alone:
            self._come_back()
        if self._bell.shared:
            self._bell.listen(self.fd, self)
        else:
            self._bell.ignore(self.fd)
        self._shared = self._bell.shared

    def _abort(self, _: object) -> Abort:
        self.sleeper = None
        return Abort.SUCCEEDED

    def writable(self) -> Awaitable[None]:
        """Until something can be sent."""
        return wait_writable(self.fd)  # noqa: ASYNC105 - the caller awaits it

    def quiet(self) -> bool:
        """See Wire. A poll of one is the cheapest question there is."""
        poll = self._poll
        if poll is None:
            poller = select.poll()
            poller.register(self.fd, select.POLLIN | select.POLLRDHUP)
            poll = self._poll = poller.poll
        return not poll(0)

    def send_nowait(self, data: bytes | memoryview) -> int:
        """See Wire."""
        try:
            return self._send(data)
        except BlockingIOError:
            return 0

    async def send(self, data: bytes | memoryview) -> int:
        """See Wire."""
        while True:
            await wait_writable(self.fd)
            sent = self.send_nowait(data)
            if sent:
                return sent

    async def handshake(self) -> None:
        """Nothing to do."""

    async def send_eof(self) -> None:
        """See Wire."""
        self._sock.shutdown(socket.SHUT_WR)

    def shutdown(self) -> None:
        """See Wire."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)

    def announce_end(self) -> None:
        """The close itself says it."""

    def close(self) -> None:
        """See Wire."""
        if self._sock.fileno() < 0:
            return
        lowlevel.notify_closing(self.fd)
        self._bell.ignore(self.fd)
        if self._alone:
            self._come_back()
        sleeper, self.sleeper = self.sleeper, None
        if sleeper is not None:
            lowlevel.reschedule(sleeper)
        self._sock.close()


def without_delay(sock: socket.socket) -> None:
    """Send small pieces at once; a unix socket does so anyway."""
    sock.setblocking(False)
    if sock.family in {socket.AF_INET, socket.AF_INET6}:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
