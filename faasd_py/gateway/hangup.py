"""Clients who go while there is nothing to send them: a stream of the control plane may be silent for days.

So may an answer that waits for the end of a call (`?wait=10m`). Nobody reads from a client whose answer runs, so its going
would only be noticed with the next bytes. A client who closes its half is taken as gone; one that vanishes without a word
is found out by TCP's own probes.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

from faasd_py.http.exchange import Exchange
from faasd_py.runtime.nursery import open_nursery

EVERY: Final = 1.0
"""Seconds between two looks."""
_PROBES: Final = (
    (socket.TCP_KEEPIDLE, 60),
    (socket.TCP_KEEPINTVL, 20),
    (socket.TCP_KEEPCNT, 3),
)
"""A client that does not answer for two minutes is gone."""


@asynccontextmanager
async def while_there(exchange: Exchange) -> AsyncIterator[None]:
    """The block is cancelled when the client goes from an answer that is long in coming; other answers are left alone."""
    async with open_nursery() as nursery:
        nursery.start_soon(_watch, exchange, nursery.cancel_scope)
        yield
        nursery.cancel_scope.cancel()


async def _watch(exchange: Exchange, scope: trio.CancelScope) -> None:
    poll: select.poll | None = None
    while poll is None or not poll.poll(0):
        await trio.sleep(EVERY)
        if poll is None and (exchange.open_ended or _waits(exchange)):
            poll = _probe(exchange.connection.wire.fd)
    scope.cancel()


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
