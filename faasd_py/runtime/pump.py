"""One epoll and one task for the many pipes of forked functions: a callback a pipe, not a task a pipe.

A task that waits for a pipe costs several times what reading it does. Callbacks are synchronous, read once (the epoll is
level-triggered), never raise, and bear being called for nothing: an fd number may have been closed and used again
within one round.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from typing import Final

import trio

_ROUND: Final = 64


class Pump:
    """Callbacks by fd."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._callbacks: dict[int, Callable[[], None]] = {}
        self._scope = trio.CancelScope(shield=True)

    def add(self, fd: int, callback: Callable[[], None]) -> None:
        """Call it whenever `fd` is ready, hung up or broken. Adding twice is fine."""
        if fd in self._callbacks:
            return
        self._epoll.register(fd, select.EPOLLIN)
        self._callbacks[fd] = callback

    def remove(self, fd: int) -> None:
        """Before the fd is closed, or waited for elsewhere. Removing twice is fine."""
        if self._callbacks.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def __len__(self) -> int:
        return len(self._callbacks)

    def stop(self) -> None:
        """The task ends. Nothing else ends it: what is being stopped after a cancellation is heard of here."""
        self._scope.cancel()

    async def run(self) -> None:
        """Until `stop`."""
        with self._scope, self._epoll as epoll:
            while True:
                await trio.lowlevel.wait_readable(epoll.fileno())
                for fd, _ in epoll.poll(0, _ROUND):
                    callback = self._callbacks.get(fd)
                    if callback is not None:
                        callback()
