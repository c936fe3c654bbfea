"""The listening side: accepts, counts, drains."""

from __future__ import annotations

import errno
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

import trio
from trio.lowlevel import wait_readable

from faasd_py.http.connection import Connection
from faasd_py.http.date import DateLine
from faasd_py.http.exchange import Exchange
from faasd_py.http.head import RequestScanner
from faasd_py.http.known import Knowledge
from faasd_py.http.limits import Limits
from faasd_py.http.sweeper import Sweeper
from faasd_py.http.tls import TlsWire
from faasd_py.http.wire import PlainWire, Wire, without_delay

Handler = Callable[[Exchange], Awaitable[None]]
_EXHAUSTED: Final = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_log: Final = logging.getLogger("faasd_py.http")
_RETRY_ACCEPT: Final = 0.5
"""Seconds to wait for file descriptors or memory to come back."""
_AT_ONCE: Final = 32
"""Connections taken in one go before others get their turn."""


class Server:
    """HTTP/1.1 on any number of listening sockets; each request is one call of `handler`.

    `fields` names the request fields that handlers look at: they are in `Exchange.fields`.
    """

    def __init__(
        self,
        handler: Handler,
        limits: Limits,
        *,
        fields: Iterable[bytes] = (),
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.scanner = RequestScanner(fields, limits.max_headers)
        self.sweeper = Sweeper()
        self.date = DateLine()
        self.knowledge = Knowledge()
        self.draining = False
        self.exchanges = 0
        """Requests whose handler is running."""
        self._fields = tuple(fields)
        self._tls = tls
        self._doors: trio.CancelScope | None = None
        self._connections: set[Connection] = set()
        self._room = trio.Event()

    @property
    def connections(self) -> int:
        """Open connections."""
        return len(self._connections)

    def set_limits(self, limits: Limits) -> None:
        """For requests from now on; timeouts of bodies for connections from now on."""
        self.limits = limits
        self.scanner = RequestScanner(self._fields, limits.max_headers)
        for connection in self._connections:
            connection.forget_head()
        self._room.set()

    def set_tls(self, context: ssl.SSLContext | None) -> None:
        """For connections from now on."""
        self._tls = context

    async def run(
        self,
        sockets: Sequence[socket.socket],
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until drained and the last connection is done. Closes the sockets when it stops accepting."""
        async with trio.open_nursery() as house:
            house.start_soon(self.sweeper.run)
            async with trio.open_nursery() as rooms:
                try:
                    async with trio.open_nursery() as doors:
                        self._doors = doors.cancel_scope
                        for sock in sockets:
                            sock.setblocking(False)
                            doors.start_soon(self._accept, sock, rooms)
                        task_status.started()
                        if self.draining:
                            doors.cancel_scope.cancel()
                finally:
                    for sock in sockets:
                        sock.close()
            house.cancel_scope.cancel()

    def drain(self) -> None:
        """Stop accepting; idle connections end now, the others with their running exchange."""
        self.draining = True
        if self._doors is not None:
            self._doors.cancel()
        for connection in self._connections:
            connection.retire()

    async def _accept(self, sock: socket.socket, rooms: trio.Nursery) -> None:
        while True:
            await wait_readable(sock.fileno())
            while len(self._connections) >= self.limits.max_connections:
                if self._room.is_set():
                    self._room = trio.Event()
                await self._room.wait()
            if not self._accept_some(sock, rooms):
                await trio.sleep(_RETRY_ACCEPT)

    def _accept_some(self, sock: socket.socket, rooms: trio.Nursery) -> bool:
        """Take what is waiting, within bounds; False when the machine has nothing left to take it with."""
        for _ in range(min(_AT_ONCE, self.limits.max_connections - len(self._connections))):
            try:
                client, address = sock.accept()
            except BlockingIOError:
                return True
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _log.warning("cannot accept: %s; trying again until there is room", error.strerror)
                    return False
                continue
            try:
                self._open(client, address, rooms)
            except OSError:  # it is gone already
                client.close()
        return True

    def _open(self, client: socket.socket, address: object, rooms: trio.Nursery) -> None:
        without_delay(client)
        connection = Connection(self, self._wire(client), _peer_name(address))
        self._connections.add(connection)
        self.sweeper.watched.add(connection)
        rooms.start_soon(connection.run)

    def _wire(self, client: socket.socket) -> Wire:
        if self._tls is None:
            return PlainWire(client)
        return TlsWire(client, self._tls, server_side=True)

    def forget(self, connection: Connection) -> None:
        """It is closed."""
        self._connections.discard(connection)
        self._room.set()


def _peer_name(address: object) -> bytes:
    """`127.0.0.1:5123`, `[::1]:5123`, or `unix`."""
    if not isinstance(address, tuple):
        return b"unix"
    host, port = address[:2]
    text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return text.encode("ascii", "replace")
