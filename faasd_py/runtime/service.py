"""Plug-in: mode `http`, long-lived processes that serve HTTP (OpenFaaS' of-watchdog in http mode, wire contract §5.3).

`replicas.min` of them are kept up, more are started while all are busy, up to `replicas.max`, and end again after
`idle_timeout` without a call. A process that ends is started again, after a wait that doubles while they fail. With
`min = 0` the next call starts one; calls that find none ready wait for it, at most `start_timeout`.
"""

from __future__ import annotations

import logging
import math
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Final

import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError, FunctionUnavailable
from faasd_py.hookspecs import RegisterRuntime, RuntimeSite, hookimpl
from faasd_py.http.errors import ConnectFailed
from faasd_py.runtime import program
from faasd_py.runtime.contract import Invocation, Replicas, Reply
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.replica import Replica
from faasd_py.runtime.running import Running

log: Final = logging.getLogger("faasd_py.runtime")
_FIRST_WAIT: Final = 0.25
_LONGEST_WAIT: Final = 30.0
_GOOD_RUN: Final = 10.0
"""Seconds of readiness after which an end is no longer held against a function."""
_LONGEST_DIRECTORY: Final = 107 - len("/999999.sock")
"""Bytes: a unix socket's path has at most 107 (unix(7))."""
_STOPPED: Final = "the function is being stopped"
_TRIES: Final = 3
"""Replicas that a call is offered to, as long as nothing of it was sent."""


class News:
    """What callers without a replica wait for: one is ready, or the attempt failed."""

    def __init__(self) -> None:
        self.event = trio.Event()
        self.failure = ""


class Service:
    """One function in mode `http`."""

    def __init__(self, site: RuntimeSite, nursery: trio.Nursery) -> None:
        self._site = site
        self._settings = site.settings
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

    def _on_ready(self, replica: Replica) -> None:
        pid = replica.child.pid if replica.child else 0
        log.info("%s: process %d is ready at %s", self._site.name, pid, replica.place)
        self._tell()

    def keep_up(self) -> None:
        """Start what `replicas.min` asks for."""
        while self._up() < self._settings.replicas.min:
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

    async def _port_free(self) -> None:
        """A port that is fixed can be listened on by one process at a time."""
        while self._settings.port and self._replicas:
            await self._replicas[0].gone.wait()

    async def _live(self) -> None:
        """One replica from its start to its end, and what follows from that."""
        replica = await self._next()
        if replica is None:
            return
        try:
            await replica.live()
        except ConfigError as error:
            replica.reason = str(error)
        finally:
            self._replicas.remove(replica)
            replica.gone.set()
        if replica.reason != Replica.RETIRED:
            self._ended(replica.ready_at, replica.reason)
        else:
            self._serve_waiting()

    async def _next(self) -> Replica | None:
        """A new replica when it may be started; None when the function is being stopped."""
        failure = ""
        try:
            with trio.CancelScope(deadline=self._not_before):
                await self._closing.wait()
            await self._port_free()
            if self._closing.is_set():
                return None
            replica = Replica(self._site, next(self._numbers), self._on_ready)
        except OSError as error:
            failure = f"the process cannot be started: {error.strerror}"
        finally:
            self._pending -= 1
        if failure:
            self._ended(0.0, failure)
            return None
        self._replicas.append(replica)
        return replica

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
        log.warning("%s: %s; the next is started in %gs at the earliest", self._site.name, reason, wait)
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


def problems(name: str, settings: FunctionSettings) -> Iterator[str]:
    """What is wrong with a service's settings beyond its command, a sentence each."""
    place, path = f"functions.{name}", settings.ready_path
    if settings.port > 65535:
        yield f"{place}.port: expected a port of at most 65535, got {settings.port}"
    if settings.port and settings.replicas.max > 1:
        yield f"{place}.port: {settings.replicas.max} replicas cannot share one port; leave it out, and use $PORT"
    if settings.port and settings.unix_socket:
        yield f"{place}.port: expected either a port or unix_socket, got both"
    if path is not None and (not path.isascii() or any(c <= " " for c in path)):
        yield f"{place}.ready_path: expected a path as it stands in a request, got {path!r}"


@asynccontextmanager
async def open_service(site: RuntimeSite) -> AsyncIterator[Service]:
    """Mode `http`.

    Raises:
        ConfigError: the command cannot be run as it is set up.
    """
    for problem in (
        *program.problems(site.name, site.settings, site.secrets),
        *problems(site.name, site.settings),
    ):
        raise ConfigError(problem)
    if site.settings.unix_socket and len(os.fsencode(site.directory.absolute())) > _LONGEST_DIRECTORY:
        raise ConfigError(
            f"functions.{site.name}.unix_socket: {site.directory} is too long for the path of a socket"
        )
    async with open_nursery() as nursery:
        service = Service(site, nursery)
        async with open_nursery() as watch:
            watch.start_soon(service.shrink)
            service.keep_up()
            yield service
            await service.close()
            watch.cancel_scope.cancel()


@hookimpl
def faasd_py_register_runtimes(register: RegisterRuntime) -> None:
    """One mode."""
    register("http", open_service)
