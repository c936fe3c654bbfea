"""Which sockets have something to read: one epoll for all wires of a run, and one task that wakes who waits.

trio's own `wait_readable` tells the kernel anew for every wait. Here a socket is made known once (edge-triggered), so
that a wait is a note of who waits, at half the cost. The tasks stay trio's and are cancelled as ever; the epoll itself is
waited for by `wait_readable`. That takes one more turn of trio's loop, which pays when many wires share it. So wires are
waited for each by itself until more than FEW are at once, and again when the bell has rung for hardly more than one at a
time for a while.
"""

from __future__ import annotations

import select
from typing import Final, Protocol

from trio.lowlevel import RunVar, Task, reschedule, spawn_system_task, wait_readable

FEW: Final = 8
"""So many wires may wait each by itself."""
_LONELY: Final = 1.5
"""Wires woken by one ring, on average, below which it is not worth while."""
_WEIGHT: Final = 1 / 16
"""Of the last ring in that average."""
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
    """Rings for one trio run; `bell()` gives it. `shared`: whoever waits from now on is to be rung for.

    `alone` counts the wires that are waited for by themselves.
    """

    __slots__ = ("_epoll", "_listeners", "_mean", "alone", "shared")

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._listeners: dict[int, Listener] = {}
        self._mean = 0.0
        self.alone = 0
        self.shared = False

    def wait_alone(self) -> None:
        """One more wire is waited for by itself."""
        self.alone += 1
        if self.alone > FEW and not self.shared:
            self.shared = True
            self._mean = float(FEW)

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
        self._mean += (len(events) - self._mean) * _WEIGHT
        if self._mean < _LONELY:
            self.shared = False
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
