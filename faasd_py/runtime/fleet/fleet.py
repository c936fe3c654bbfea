"""A function's replicas: as many as are wanted are kept up, and each call goes to the one that has least to do.

How many are wanted is `core/scaling.py`'s: from `replicas` and the labels, the load, and what somebody asked for. One that
ends is started again, after a wait that doubles while they fail. Calls that find none ready wait for one, at most
`start_timeout`; the first of them wakes a function that sleeps.
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
from faasd_py.core.scaling import Scaler
from faasd_py.hookspecs import RuntimeSite
from faasd_py.http.errors import ConnectFailed
from faasd_py.runtime.contract import Invocation, Replicas, Reply, Usage
from faasd_py.runtime.fleet.backoff import Backoff
from faasd_py.runtime.fleet.instance import OpenInstance
from faasd_py.runtime.fleet.news import News
from faasd_py.runtime.fleet.probing import probes
from faasd_py.runtime.fleet.replica import Replica
from faasd_py.runtime.fleet.watch import Watch
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.running import Running

log: Final = logging.getLogger("faasd_py.runtime")
_STOPPED: Final = "the function is being stopped"
_TRIES: Final = 3
"""Replicas that a call is offered to, as long as nothing of it was sent."""


class Fleet:
    """One function's replicas; a `Runtime`."""

    def __init__(self, site: RuntimeSite, open_instance: OpenInstance, nursery: trio.Nursery) -> None:
        settings = site.settings
        self._site = site
        self._settings = settings
        self._drain = settings.write_timeout or math.inf
        self._open = open_instance
        self._nursery = nursery
        self._scaling = settings.scaling()
        self._full = self._scaling.full if self._scaling.kind == "capacity" else math.inf
        self._scaler = Scaler(self._scaling, trio.current_time())
        self._probes = probes(settings)
        self._numbers = count(1)
        self._replicas: list[Replica] = []
        self._serving: list[Replica] = []
        """Those that are ready."""
        self._news = News()
        self._backoff = Backoff()
        self._pending = 0
        """Replicas that wait for their start."""
        self._closing = trio.Event()
        self.running = Running()
        self.watch = Watch(self._scaling, self._scaler, self.running, self._meet, self.usage)

    def replicas(self) -> Replicas:
        """How many are wanted at this moment, and how many of them answer."""
        ready = len(self._serving)
        return Replicas(
            wanted=self._scaler.wanted,
            available=ready,
            failures=0 if ready else self._backoff.failures,
            trouble="" if ready else self._trouble(),
        )

    async def usage(self) -> Usage | None:
        """Of all replicas together; None when none is known."""
        found = [usage for replica in list(self._replicas) if (usage := await replica.usage()) is not None]
        if not found:
            return None
        return Usage(sum(usage.cpu_seconds for usage in found), sum(usage.memory_bytes for usage in found))

    def scale(self, wanted: int) -> None:
        """So many, from 0 (asleep until the next call) to the maximum, until the load asks for more. Returns at once."""
        self._scaler.scale(wanted, trio.current_time())
        self._meet(self._drain)
        self.watch.stir()

    def expect(self, wanted: int) -> None:
        """The load is coming that another version had so many replicas for: start with as many. Returns at once."""
        self._scaler.expect(wanted, trio.current_time())
        self._meet(self._drain)
        self.watch.stir()

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """Give the call to the replica that has least to do."""
        with self.running:
            self.watch.began()
            for left in reversed(range(_TRIES)):
                replica = self._least() or await self._awaited()
                if replica.running.count >= self._full:
                    self._grow()
                try:
                    await replica.invoke(invocation, reply)
                except FunctionUnavailable as error:
                    if not isinstance(error.__cause__, ConnectFailed):
                        raise
                    replica.doubt()
                    if not left:
                        raise
                else:
                    return

    def _least(self) -> Replica | None:
        serving = self._serving
        if len(serving) < 2:
            return serving[0] if serving else None
        return min(serving, key=lambda replica: replica.running.count)

    async def _awaited(self) -> Replica:
        """The first replica to become ready.

        Raises:
            FunctionUnavailable: the attempt failed, or took longer than start_timeout.
        """
        with trio.move_on_after(self._settings.start_timeout):
            while not (replica := self._least()):
                if self._closing.is_set():
                    raise FunctionUnavailable(_STOPPED)
                self._scaler.wake(trio.current_time())
                self._meet()
                news = self._news
                await news.event.wait()
                if news.failure:
                    raise FunctionUnavailable(news.failure)
            return replica
        why = self._trouble()
        raise FunctionUnavailable(f"not ready within {self._settings.start_timeout}{why and f': {why}'}")

    def _trouble(self) -> str:
        """Why none answers, as far as that is known: an end says more than that another one does not answer yet."""
        up = [replica for replica in self._replicas if replica.up and replica.failure]
        lapsed = next((replica.failure for replica in up if replica.ready_at), "")
        return lapsed or self._backoff.reason or next((replica.failure for replica in up), "")

    def _tell(self, failure: str = "") -> None:
        news, self._news = self._news, News()
        news.failure = failure
        news.event.set()

    def changed(self, replica: Replica) -> None:
        """See Watcher."""
        self._serving = [replica for replica in self._replicas if replica.ready]
        if replica.ready:
            self._backoff.good()
            log.info("%s: instance %s is ready at %s", self._site.name, replica.name, replica.place)
            self._site.emit("function.ready", function=self._label, instance=replica.name)
            self._tell()

    def unready(self, replica: Replica, reason: str) -> None:
        """See Watcher."""
        self._site.log.line(f"not ready: {reason}; no calls until it is", instance=replica.name)

    def unwell(self, replica: Replica, reason: str) -> None:
        """See Watcher."""
        self._site.log.line(f"unwell: {reason}; it is replaced", instance=replica.name)
        self._site.emit("function.unhealthy", function=self._label, instance=replica.name, reason=reason)
        self._failed(replica, f"instance {replica.name} is unwell: {reason}")

    @property
    def _label(self) -> str:
        return f"{self._site.name}.{self._site.namespace}"

    def _up(self) -> int:
        """Replicas that serve or will, not those that are being stopped."""
        return self._pending + sum(replica.up for replica in self._replicas)

    def _grow(self) -> None:
        """One more, unless one is starting already or the maximum is reached."""
        coming = self._pending or any(replica.starting for replica in self._replicas)
        if not coming and not self._closing.is_set() and self._scaler.grow(trio.current_time()):
            self._meet()

    def meet(self) -> None:
        """Start what is wanted from the beginning."""
        self._meet()

    def _meet(self, patience: float = math.inf) -> None:
        """Start or stop replicas until as many are up as are wanted; those to be stopped have so many seconds to drain."""
        if self._closing.is_set():
            return
        missing = self._scaler.wanted - self._up()
        for replica in [replica for replica in self._replicas if replica.dozing][: max(0, missing)]:
            replica.wake()
            missing -= 1
        for _ in range(missing):
            self._pending += 1
            self._nursery.start_soon(self._live)
        for replica in reversed(self._superfluous(-missing)):  # if some may doze, the oldest
            self._dismiss(replica, patience)

    def _superfluous(self, surplus: int) -> list[Replica]:
        """What is not ready before what is, the idle before the busy, the young before the old; what waits goes by itself."""
        surplus -= self._pending
        if surplus <= 0:
            return []
        up = [replica for replica in self._replicas if replica.up]
        up.sort(key=lambda replica: (replica.ready, replica.running.count, -replica.number))
        return up[:surplus]

    def _dismiss(self, replica: Replica, patience: float) -> None:
        asleep = self._settings.sleep == "pause" and not self._scaler.wanted
        dozing = sum(replica.dozing for replica in self._replicas)
        if asleep and replica.ready and replica.can_doze and dozing < self._scaling.min:
            replica.doze()
        else:
            replica.retire(patience)

    async def _live(self) -> None:
        """One replica from its start to its end, and what follows from that."""
        try:
            with trio.CancelScope(deadline=self._backoff.not_before):
                await self._closing.wait()
        finally:
            self._pending -= 1
        if self._closing.is_set() or self._up() >= self._scaler.wanted:
            return
        replica = Replica(self._settings, self._probes, next(self._numbers), self._open, self)
        self._replicas.append(replica)
        try:
            await replica.live()
        finally:
            self._replicas.remove(replica)
        if replica.reason != Replica.RETIRED:
            self._site.emit(
                "function.crashed", function=self._label, instance=replica.name, reason=replica.reason
            )
            self._failed(replica, replica.reason)

    def _failed(self, failed: Replica, reason: str) -> None:
        """A replica ended that should not have: wait before the next, longer each time."""
        wait = self._backoff.failed(reason, failed.started_at, failed.ready_at, trio.current_time())
        if self._closing.is_set():
            return
        log.warning("%s: %s; the next is started in %gs at the earliest", self._site.name, reason, wait)
        if not failed.ready_at and not any(replica.up for replica in self._replicas):
            self._tell(reason)
        if not self._scaling.start and not self._serving and not self._news.waiting:
            self._scaler.sleep()
        self._meet()

    async def close(self) -> None:
        """Calls that run may finish, within write_timeout; returns when every replica is told to end."""
        with trio.move_on_after(self._drain):
            await self.running.drained()
        self._closing.set()
        self._tell(_STOPPED)
        for replica in self._replicas:
            replica.retire(0)


@asynccontextmanager
async def open_fleet(site: RuntimeSite, open_instance: OpenInstance) -> AsyncIterator[Fleet]:
    """The replicas of one function, as its settings ask; each is one entering of `open_instance(number)`.

    When the block ends, running calls finish within write_timeout, and every instance has been left.
    """
    async with open_nursery() as nursery:
        fleet = Fleet(site, open_instance, nursery)
        async with open_nursery() as watch:
            watch.start_soon(fleet.watch.run)
            fleet.meet()
            yield fleet
            await fleet.close()
            watch.cancel_scope.cancel()
