"""Which sockets have something to read: one epoll for all wires of a run, and one task that wakes who waits.

trio's own `wait_readable` tells the kernel anew for every wait. Here a socket is made known once (edge-triggered), so
that a wait is a note of who waits, at half the cost. The tasks stay trio's and are cancelled as ever; the epoll itself is
waited for by `wait_readable`. That takes one more turn of trio's loop, which many wires share; so while there are only
FEW wires, each is waited for by itself.
"""

from __future__ import annotations

import select
from typing import Final, Protocol

from trio.lowlevel import RunVar, Task, reschedule, spawn_system_task, wait_readable

FEW: Final = 8
"""Up to so many wires in a run, a turn of the loop seldom wakes more than one of them."""
_EVENTS: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLET
_END: Final = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_AT_ONCE: Final = 512
"""Events taken in one go."""


class Listener(Protocol):
    """A wire, as far as the bell goes."""

    sleeper: Task | None
    """Who waits."""
    rung: bool
    """There may be something to read that nobody was woken for."""
    ended: bool
    """The other side has said its last byte: from now on there is always something to read, if only the end."""


class Bell:
    """Rings for one trio run; `bell()` gives it. `shared`: there are enough wires to make it worth while."""

    __slots__ = ("_epoll", "_listeners", "_wires", "shared")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._listeners: dict[int, Listener] = {}
        self._wires = 0
        self.shared = False

    def enter(self) -> None:
        """There is one more wire."""
        self._wires += 1
        self.shared = self._wires > FEW

    def leave(self) -> None:
        """There is one less."""
        self._wires -= 1
        self.shared = self._wires > FEW

    def listen(self, fd: int, listener: Listener) -> None:
        """Ring for this socket; at once, if there is something to read."""
        self._epoll.register(fd, _EVENTS)
        self._listeners[fd] = listener

    def ignore(self, fd: int) -> None:
        """Ring for it no longer: it will be closed, or waited for by itself."""
        if self._listeners.pop(fd, None) is not None and not self._epoll.closed:
            self._epoll.unregister(fd)

    async def run(self) -> None:
        """Until cancelled."""
        with self._epoll:
            fd, poll = self._epoll.fileno(), self._epoll.poll
            while True:
                await wait_readable(fd)
                self._ring(poll(0, _AT_ONCE))

    def _ring(self, events: list[tuple[int, int]]) -> None:
        for fd, flags in events:
            listener = self._listeners.get(fd)
            if listener is None:
                continue
            if flags & _END:
                listener.ended = True
            task = listener.sleeper
            if task is None:
                listener.rung = True
            else:
                listener.sleeper = None
                reschedule(task)


_bell: Final = RunVar[Bell]("faasd_py.http.bell")


def bell() -> Bell:
    """The bell of the run that this is called in."""
    try:
        return _bell.get()
    except LookupError:
        found = Bell()
        _bell.set(found)
        spawn_system_task(found.run)
        return found
