"""What a fleet is made of: one thing that serves HTTP, started by entering, stopped by leaving."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from faasd_py.runtime.contract import Usage


class Instance(Protocol):
    """A process or a container that serves HTTP.

    It may also have `async pause() -> bool` and `async resume() -> None`: to stand still without memory or start-up being
    lost. `pause` returns False when it cannot be done now.
    """

    @property
    def name(self) -> str:
        """For logs: a pid, the first 12 digits of a container's id."""
        ...

    @property
    def place(self) -> str:
        """Where it listens, for a person: `127.0.0.1:PORT`, a path."""
        ...

    async def dial(self) -> socket.socket:
        """A new connection: connected, non-blocking, the caller's to close.

        Raises:
            ConnectFailed: it cannot be reached.
        """
        ...

    async def wait(self) -> str:
        """Returns when it has ended by itself, with the reason as the end of a sentence: `the process ended with …`."""
        ...

    async def usage(self) -> Usage | None:
        """What it uses; None when that is not known."""
        ...


OpenInstance = Callable[[int], AbstractAsyncContextManager[Instance]]
"""Entering it starts instance number N of a function (from 1 on, never the same twice); leaving it stops it: what a TERM asks
for, then a KILL. Leaving must do that even when it is cancelled, so its clean-up stands in a shielded scope.

Entering raises FunctionUnavailable or ConfigError with the reason when it cannot be started, and may be cancelled: when
start_timeout has passed, or when the function is closed.
"""
