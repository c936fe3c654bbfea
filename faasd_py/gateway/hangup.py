"""Clients who go while there is nothing to send them: a stream of the control plane may be silent for days.

So may an answer that waits for the end of a call (`?wait=10m`). Nobody reads from a client whose answer runs, so its going
would only be noticed with the next bytes. A client who closes its half is taken as gone; one that vanishes without a word
is found out by TCP's own probes.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import trio

from faasd_py.http.exchange import Exchange

EVERY: Final = 1.0
"""Seconds between two looks."""
_PROBES: Final = (
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 20),
    (socket.TCP_KEEPCNT, 3),
)
"""A client that does not answer for two minutes is gone."""


class Hangups:
    """Looks after the clients of answers that run: one task for all of them, which sleeps while there are none."""

    def __init__(self) -> None:
        self._looks: set[_Look] = set()
        self._some = trio.Event()

    @contextmanager
    def while_there(self, exchange: Exchange) -> Iterator[None]:
        """The block is cancelled when the client goes from an answer that is long in coming; other answers are left alone."""
        look = _Look(exchange)
        self._looks.add(look)
        self._some.set()
        try:
            with look.scope:
                yield
        finally:
            self._looks.discard(look)

    async def run(self) -> None:
        """Look now and then, until cancelled."""
        while True:
            if not self._looks:
                self._some = trio.Event()
                await self._some.wait()
            await trio.sleep(EVERY)
            for look in list(self._looks):
                look.look()


class _Look:
    """One client, and what is cancelled when it goes."""

    def __init__(self, exchange: Exchange) -> None:
        self.scope = trio.CancelScope()
        self._exchange = exchange
        self._poll: select.poll | None = None

    def look(self) -> None:
        exchange = self._exchange
        if self._poll is None and (exchange.open_ended or _waits(exchange)):
            self._poll = _probe(exchange.connection.wire.fd)
        if self._poll is not None and self._poll.poll(0):
            self.scope.cancel()


def _waits(exchange: Exchange) -> bool:
    """It asked for an answer that comes when something has happened."""
    return not exchange.began and b"wait=" in exchange.target.partition(b"?")[2]


def _probe(fd: int) -> select.poll:
    """Have TCP ask now and then whether the client is there; a poll that is ready when he has gone."""
    with socket.socket(fileno=os.dup(fd)) as sock:
        if sock.family in {socket.AF_INET, socket.AF_INET6}:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _PROBES:
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
    poll = select.poll()
    poll.register(fd, select.POLLRDHUP)
    return poll
