"""Gives calls of one lane to one spoke, as many as it has credit for."""

from __future__ import annotations

from typing import Final

import trio

from faasd_py.api import Move, Queue, Verdict
from faasd_py_nng.operations import Operations
from faasd_py_nng.session import Session

AT_ONCE: Final = 32
"""Calls that are given before others get their chance."""


class Granter:
    """`total` is the credit, counted from the beginning of the connection."""

    def __init__(self, lane: str, session: Session, queue: Queue, operations: Operations) -> None:
        self.total = 0
        self._lane = lane
        self._session = session
        self._queue = queue
        self._operations = operations
        self._granted = 0
        self._changed = trio.Event()

    def set_total(self, total: int) -> None:
        """More, or less: never less than what was given."""
        self.total = total
        self._changed.set()

    def _open(self) -> bool:
        return self._granted < self.total and not self._operations.paused and not self._session.ended

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await self._wait_open()
            await self._queue.wait_ready(self._lane)
            if not self._open():
                await self._pass_on()
                continue
            self._give()
            await trio.lowlevel.checkpoint()

    async def _wait_open(self) -> None:
        while not self._open():
            if self._operations.paused:
                await self._operations.resumed.wait()
            else:
                self._changed = trio.Event()
                await self._changed.wait()

    def _give(self) -> None:
        for _ in range(AT_ONCE):
            if not self._open() or (lease := self._queue.lease_nowait(self._lane)) is None:
                return
            self._granted += 1
            self._session.grant(lease)

    async def _pass_on(self) -> None:
        """Whoever waits behind was not woken: taking the call and giving it back wakes them."""
        lease = self._queue.lease_nowait(self._lane)
        if lease is not None:
            await self._queue.settle(lease, Verdict(move=Move.RELEASE))
        await trio.lowlevel.checkpoint()
