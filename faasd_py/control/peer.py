"""Who is at the other end of a private socket: its mode keeps other users out, and confined functions may be the same one."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable
from typing import Final

import trio

Confines = Callable[[int], bool]
_CREDENTIALS: Final = struct.Struct("3i")
_TEXT: Final = b"a confined function may not use the daemon's private sockets\n"
REFUSAL: Final = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
    b"Connection: close\r\nContent-Length: %d\r\n\r\n%b" % (len(_TEXT), _TEXT)
)


def nobody(pid: int) -> bool:  # noqa: ARG001 - Confines' shape
    """Where no function is confined."""
    return False


def refused(wire: trio.socket.SocketType, confines: Confines) -> bool:
    """Whether the peer is a confined function of this user's, or one that has ended and may have been (SO_PEERCRED).

    Another user has been let in by the socket's mode: root, whose processes we might not see.
    """
    pid, uid, _ = _CREDENTIALS.unpack(
        wire.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    )
    return uid == os.geteuid() and pid != os.getpid() and confines(pid)
