"""Making connections: one try each, within a time. Loopback and unix sockets answer at once or not at all."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Final

import trio
from trio.lowlevel import wait_writable

from faasd_py.http.errors import ConnectFailed
from faasd_py.http.wire import without_delay

Dial = Callable[[], Awaitable[socket.socket]]
"""Gives a connected, non-blocking socket, or raises ConnectFailed."""
_BUSY: Final = 0.01
"""Seconds between tries while a unix socket's backlog is full."""


def dial_tcp(host: str, port: int, timeout: float) -> Dial:
    """Connect to `host:port`; every address of a name is tried in turn. `timeout` is in seconds, for all of it."""

    async def dial() -> socket.socket:
        with trio.move_on_after(timeout):
            return await _dial_host(host, port)
        raise ConnectFailed(f"{host}:{port} did not answer within {timeout:g}s")

    return dial


def dial_unix(path: str, timeout: float) -> Dial:
    """Connect to a unix socket. `timeout` is in seconds."""

    async def dial() -> socket.socket:
        with trio.move_on_after(timeout):
            return await _dial(socket.AF_UNIX, path, path)
        raise ConnectFailed(f"{path} did not answer within {timeout:g}s")

    return dial


async def _dial_host(host: str, port: int) -> socket.socket:
    failure = ConnectFailed(f"{host} has no address")
    for family, address in await _addresses(host, port):
        try:
            return await _dial(family, address, f"{host}:{port}")
        except ConnectFailed as error:
            failure = error
    raise failure


async def _addresses(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
    """An address needs no resolver, and no thread."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, host)
        except (OSError, ValueError):
            continue
        return [(family, (host, port))]
    try:
        found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise ConnectFailed(f"{host} cannot be resolved: {error}") from error
    return [(entry[0], (str(entry[4][0]), port)) for entry in found]


async def _dial(family: int, address: str | tuple[str, int], name: str) -> socket.socket:
    try:
        sock = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise ConnectFailed(f"cannot connect to {name}: {error.strerror}") from error
    try:
        without_delay(sock)
        await _connect(sock, address)
    except OSError as error:
        sock.close()
        raise ConnectFailed(f"cannot connect to {name}: {error.strerror}") from error
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(sock: socket.socket, address: str | tuple[str, int]) -> None:
    while (error := sock.connect_ex(address)) == errno.EAGAIN:  # noqa: ASYNC110 - the kernel tells nobody
        await trio.sleep(_BUSY)
    if error == errno.EINPROGRESS:
        await wait_writable(sock.fileno())
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise OSError(error, os.strerror(error))
