"""What the bytes travel on; TLS over it is in tls.py. A broken wire raises OSError from both verbs."""

from __future__ import annotations

import socket
from typing import Final, Protocol

import trio
from trio.lowlevel import checkpoint, notify_closing, wait_readable, wait_writable

SMALL: Final = 64 * 1024
LARGE: Final = 256 * 1024
"""What is read at once: little while little comes, since a large buffer costs more to allocate than to fill."""
STREAK: Final = 8
"""Full reads in one turn of the loop."""
TURN: Final = 512 * 1024
"""Bytes sent in one turn: less than is read, since a server hangs up on who reads too slowly."""


class Wire(Protocol):
    """One connection's two verbs; one task receives, one sends."""

    async def receive(self) -> bytes:
        """Wait for bytes; empty at the end."""

    async def send_all(self, data: bytes) -> None:
        """Send every one of them."""

    def close(self) -> None:
        """Give the file descriptor back, without ceremony."""


class SocketWire:
    """A plain socket, without a layer between it and trio's wait."""

    def __init__(self, theirs: trio.socket.SocketType) -> None:
        refuse_ourselves(theirs)
        self._socket = socket.socket(theirs.family, theirs.type, theirs.proto, fileno=theirs.detach())
        self._socket.setblocking(False)
        self._size = SMALL
        self._streak = 0

    async def receive(self) -> bytes:
        """What has arrived. It waits even when something is there: the others have their turn.

        When much is there, up to `STREAK` reads are one turn.
        """
        while True:
            if not self._streak:
                await wait_readable(self._socket)
            try:
                data = self._socket.recv(self._size)
            except BlockingIOError:
                self._streak = 0
                continue
            self._streak = (self._streak + 1) % STREAK if len(data) == self._size else 0
            self._size = LARGE if len(data) >= SMALL else SMALL
            return data

    async def send_all(self, data: bytes) -> None:
        """Without waiting as long as the kernel takes it, but for a turn of the loop now and then."""
        view, at = memoryview(data), 0
        while at < len(view):
            try:
                at += self._socket.send(view[at : at + TURN])
            except BlockingIOError:
                await wait_writable(self._socket)
            else:
                if at < len(view):
                    await checkpoint()

    def close(self) -> None:
        """Whoever still waits gets trio.ClosedResourceError."""
        if self._socket.fileno() >= 0:
            notify_closing(self._socket)
            self._socket.close()


def refuse_ourselves(ours: trio.socket.SocketType) -> None:
    """TCP connects a socket to itself when the dead server's port is the one that the kernel chose for ours.

    Raises:
        ConnectionRefusedError: so it is; the socket is closed.
    """
    if ours.getsockname() == ours.getpeername():
        ours.close()
        raise ConnectionRefusedError("nobody listens there")
