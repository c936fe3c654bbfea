"""hypercorn's connections on a listener of our own, so that the failure of one is nobody else's.

hypercorn runs all connections in one nursery: a client that breaks off in the middle of a body can end the whole
server (another task is sending while the 400 is to be sent), and its sends are shielded from cancellation.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.worker_context import WorkerContext
from quart_trio import QuartTrio

from faasd_py.control.connection import Connection
from faasd_py.control.peer import REFUSAL, Confines, nobody, refused
from faasd_py.control.serve import GRACE

_log: Final = logging.getLogger("faasd_py.control")


class Connections:
    """The connections of one app; `confines` tells by its pid who may not have one."""

    def __init__(self, app: QuartTrio, confines: Confines = nobody) -> None:
        self._app = app
        self._confines = confines
        self._asgi = ASGIWrapper(app)
        self._config = _config()
        self._context = WorkerContext(None)
        self._open: set[Connection] = set()
        self._stopping = False
        self._empty = trio.Event()

    async def serve(self, listener: socket.socket, stop: Callable[[], Awaitable[None]]) -> None:
        """Serve until `stop` returns, and GRACE seconds more for what runs; or until cancelled."""
        async with trio.open_nursery() as background:
            self._app.nursery = background
            await self._app.startup()
            await self._accept_until(listener, stop)
            await self._app.shutdown()
            background.cancel_scope.cancel()

    async def _accept_until(self, listener: socket.socket, stop: Callable[[], Awaitable[None]]) -> None:
        # a duplicate, because closing the listener is up to whoever opened it
        accepting = trio.SocketListener(trio.socket.from_stdlib_socket(listener.dup()))
        serve = partial(trio.serve_listeners, self._handle, [accepting])
        async with trio.open_nursery() as handlers:
            handlers.start_soon(self._break_off)
            async with accepting, trio.open_nursery() as nursery:
                nursery.start_soon(partial(serve, handler_nursery=handlers))
                await stop()
                nursery.cancel_scope.cancel()
            self._stopping = True
            self._check_empty()
            await self._context.terminated.set()
            self._close(idle=True)
            handlers.cancel_scope.deadline = trio.current_time() + GRACE

    async def _handle(self, stream: trio.SocketStream) -> None:
        connection = Connection(self._asgi, self._config, self._context, stream)
        self._open.add(connection)
        try:
            if refused(stream.socket, self._confines):
                await stream.send_all(REFUSAL)
            else:
                await connection.run()
        except Exception as error:  # noqa: BLE001  # whatever one connection raises, also as a group, is its own
            _log.debug("a connection failed", exc_info=error)
        finally:
            stream.socket.close()
            self._open.discard(connection)
            self._check_empty()

    def _check_empty(self) -> None:
        if self._stopping and not self._open:
            self._empty.set()

    async def _break_off(self) -> None:
        """Close what is left when the daemon is cancelled: sends to a client who does not read heed nothing else."""
        try:
            await self._empty.wait()
        finally:
            self._close()

    def _close(self, *, idle: bool = False) -> None:
        for connection in self._open:
            if connection.idle or not idle:
                connection.stream.socket.close()


def _config() -> Config:
    config = Config()
    config.accesslog = None
    config.errorlog = _log
    config.include_server_header = False
    config.read_timeout = None  # it would fire while a handler works
    return config
