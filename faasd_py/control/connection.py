"""One of hypercorn's connections, with fewer system calls and tasks a request: each of them is a pause of somebody's call.

hypercorn sends head, body and end one by one, and starts a task that waits for the end of an idle connection after each
request. Here an answer whose length is known goes out at once, and whoever has the connection closes it when it is idle.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.events import Event, RawData, Updated
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState

_LENGTH: Final = b"\r\ncontent-length: "


class Connection(TCPServer):
    """A connection; `idle` while no request is being answered."""

    def __init__(
        self, app: ASGIWrapper, config: Config, context: WorkerContext, stream: trio.SocketStream
    ) -> None:
        super().__init__(app, config, context, ConnectionState({}), stream)  # type: ignore[arg-type]  # it takes plain streams too
        self.idle_task = _NoTask()  # type: ignore[assignment]
        self.idle = True
        self._head: bytes | None = b""
        """What of an answer's head is held until its body comes; None once that went."""

    async def protocol_send(self, event: Event) -> None:
        """What hypercorn's protocol has to say: bytes to send, that the connection is idle or not, that it is over."""
        if isinstance(event, Updated):
            self.idle = event.idle
            self._head = b""
        elif isinstance(event, RawData):
            await self._send(event.data)
        else:
            await super().protocol_send(event)

    async def _send(self, data: bytes) -> None:
        if self._head == b"" and _LENGTH in data:
            self._head = data
            return
        data, self._head = (self._head or b"") + data, None
        if data:
            await super().protocol_send(RawData(data=data))


class _NoTask:
    """In the place of hypercorn's task that closes idle connections."""

    async def restart(self, task_group: Any, action: Callable[..., Any]) -> None:
        """Not needed."""

    async def stop(self) -> None:
        """Not needed."""
