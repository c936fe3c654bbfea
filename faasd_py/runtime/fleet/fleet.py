"""A function's replicas: as many as are wanted are kept up, and each call goes to the one that has least to do.

`replicas.min` of them are kept up, more are started while all are busy, up to `replicas.max`, and end again after
`idle_timeout` without a call. One that ends is started again, after a wait that doubles while they fail. With `min = 0` the
next call starts one; calls that find none ready wait for it, at most `start_timeout`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.hookspecs import RuntimeSite
from faasd_py.http.errors import ConnectFailed
from faasd_py.runtime.contract import Invocation, Replicas, Reply, Usage
from faasd_py.runtime.fleet.instance import OpenInstance
from faasd_py.runtime.fleet.news import News
from faasd_py.runtime.fleet.replica import Replica
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.running import Running

log: Final = logging.getLogger("faasd_py.runtime")
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 30.0
_GOOD_RUN: Final = 10.0
"""Seconds of readiness after which an end is no longer held against a function."""
_STOPPED: Final = "the function is being stopped"
_TRIES: Final = 3
"""Replicas that a call is offered to, as long as nothing of it was sent."""


class Fleet:
    """One function's replicas; a `Runtime`."""

    def __init__(self, site: RuntimeSite, open_instance: OpenInstance, nursery: trio.Nursery) -> None:
        self._name = site.name
        self._settings = site.settings
        self._open = open_instance
        self._nursery = nursery
        self._numbers = count(1)
        self._replicas: list[Replica] = []
        self._news = News()
        self._failures = 0
        self._not_before = -math.inf
        self._pending = 0
        self._closing = trio.Event()
        self.running = Running()

    def replicas(self) -> Replicas:
        """How many are kept up at this moment, and how many of them answer."""
        up = self._up()
        ready = sum(replica.ready for replica in self._replicas)
        return Replicas(wanted=max(self._settings.replicas.min, up), available=ready)

    async def usage(self) -> Usage | None:
        """Of all replicas together; None when none is known."""
        found = [usage for replica in list(self._replicas) if (usage := await replica.usage()) is not None]
        if not found:
            return None
        return Usage(sum(usage.cpu_seconds for usage in found), sum(usage.memory_bytes for usage in found))

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """Give the call to the replica that has least to do."""
        with self.running:
            for left in reversed(range(_TRIES)):
                replica = self._least() or await self._awaited()
                if replica.running.count:
                    self._grow()
                try:
                    await replica.invoke(invocation, reply)
                except FunctionUnavailable as error:
                    if left and isinstance(error.__cause__, ConnectFailed) and not replica.ready:
                        continue
                    raise
                return

    def _least(self) -> Replica | None:
        ready = [replica for replica in self._replicas if replica.ready]
        return min(ready, key=lambda replica: replica.running.count) if ready else None

    async def _awaited(self) -> Replica:
        """The first replica to become ready.

        Raises:
            FunctionUnavailable: the attempt failed, or took longer than start_timeout.
        """
        with trio.move_on_after(self._settings.start_timeout):
            while not (replica := self._least()):
                if self._closing.is_set():
                    raise FunctionUnavailable(_STOPPED)
                self._grow()
                news = self._news
                await news.event.wait()
                if news.failure:
                    raise FunctionUnavailable(news.failure)
            return replica
        raise FunctionUnavailable(f"not ready within {self._settings.start_timeout}")

    def _tell(self, failure: str = "") -> None:
        news, self._news = self._news, News()
        news.failure = failure
        news.event.set()

    def _on_change(self, replica: Replica) -> None:
        if replica.ready:
            log.info("%s: instance %s is ready at %s", self._name, replica.name, replica.place)
            self._tell()

    def keep_up(self) -> None:
        """Start what `replicas.min` asks for."""
        while not self._closing.is_set() and self._up() < self._settings.replicas.min:
            self._start()

    def _up(self) -> int:
        """Replicas that serve or will, not those that are being stopped."""
        return self._pending + sum(replica.ready or replica.starting for replica in self._replicas)

    def _grow(self) -> None:
        """One more, unless one is starting already or the maximum is reached."""
        coming = self._pending or any(replica.starting for replica in self._replicas)
        if not coming and self._up() < max(1, self._settings.replicas.max):
            self._start()

    def _start(self) -> None:
        if not self._closing.is_set():
            self._pending += 1
            self._nursery.start_soon(self._live)

    async def _live(self) -> None:
        """One replica from its start to its end, and what follows from that."""
        try:
            with trio.CancelScope(deadline=self._not_before):
                await self._closing.wait()
        finally:
            self._pending -= 1
        if self._closing.is_set():
            return
        replica = Replica(self._settings, next(self._numbers), self._open, self._on_change)
        self._replicas.append(replica)
        try:
            await replica.live()
        finally:
            self._replicas.remove(replica)
        if replica.reason != Replica.RETIRED:
            self._ended(replica.ready_at, replica.reason)
        else:
            self._serve_waiting()

    def _ended(self, ready_at: float, reason: str) -> None:
        """A replica ended that should not have: wait before the next, longer each time."""
        now = trio.current_time()
        if ready_at and now - ready_at >= _GOOD_RUN:
            self._failures = 0
        wait = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._not_before = now + wait
        if self._closing.is_set():
            return
        log.warning("%s: %s; the next is started in %gs at the earliest", self._name, reason, wait)
        if not ready_at and not self._up():
            self._tell(reason)
        self.keep_up()
        self._serve_waiting()

    def _serve_waiting(self) -> None:
        if self._news.event.statistics().tasks_waiting:
            self._grow()

    async def shrink(self) -> None:
        """Retire what has been idle for `idle_timeout` and is more than `replicas.min`, until cancelled."""
        idle = self._settings.idle_timeout
        while True:
            await trio.sleep(min(15.0, max(0.02, idle / 4)))
            spare = sum(replica.ready for replica in self._replicas) - self._settings.replicas.min
            for replica in self._replicas[::-1]:
                rested = trio.current_time() - replica.used_at >= idle
                if spare > 0 and replica.ready and not replica.running.count and rested:
                    replica.retire()
                    spare -= 1

    async def close(self) -> None:
        """Calls that run may finish, within write_timeout; returns when every replica is told to end."""
        with trio.move_on_after(self._settings.write_timeout or math.inf):
            await self.running.drained()
        self._closing.set()
        self._tell(_STOPPED)
        for replica in self._replicas:
            replica.retire()


@asynccontextmanager
async def open_fleet(site: RuntimeSite, open_instance: OpenInstance) -> AsyncIterator[Fleet]:
    """The replicas of one function, as its settings ask; each is one entering of `open_instance(number)`.

    When the block ends, running calls finish within write_timeout, and every instance has been left.
    """
    async with open_nursery() as nursery:
        fleet = Fleet(site, open_instance, nursery)
        async with open_nursery() as watch:
            watch.start_soon(fleet.shrink)
            fleet.keep_up()
            yield fleet
            await fleet.close()
            watch.cancel_scope.cancel()
