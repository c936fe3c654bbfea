"""One replica of a fleet: started, waited for until it answers, followed, and stopped."""

from __future__ import annotations

import math
import socket
from typing import Any, Final, Protocol

import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError, FunctionUnavailable
from faasd_py.core.probes import Probe
from faasd_py.http.client import Pool
from faasd_py.http.errors import ConnectFailed
from faasd_py.runtime.contract import Invocation, Reply, Usage
from faasd_py.runtime.fleet.instance import Instance, OpenInstance
from faasd_py.runtime.fleet.probing import Asking, Probes
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.relay import PEER_ERRORS, relay, unavailable
from faasd_py.runtime.running import Running

_IDLE_TIMEOUT: Final = 30.0


class Watcher(Protocol):
    """Who is told about a replica."""

    def changed(self, replica: Replica) -> None:
        """`ready` is another than before."""

    def unwell(self, replica: Replica, reason: str) -> None:
        """Its health probe failed too often: it is retired, and another should take its place."""

    def unready(self, replica: Replica, reason: str) -> None:
        """Its readiness probe failed: calls are kept from it until it answers again."""


class Replica:
    """`live` is its whole life: `starting`, then `ready` while calls may be given to it; `reason` says why it ended.

    `up`: it serves or will, and is not told to end. `dozing`: it stands still until `wake`. `failure` is what kept it from
    being ready when it was asked last.
    """

    RETIRED: Final = "retired"

    def __init__(
        self,
        settings: FunctionSettings,
        probes: Probes,
        number: int,
        open_instance: OpenInstance,
        watcher: Watcher,
    ) -> None:
        self._settings = settings
        self._probes = probes
        self._open = open_instance
        self._watcher = watcher
        self._scope = trio.CancelScope()
        """Around all of its life until it is started."""
        self._draining = trio.CancelScope()
        self._retire = trio.Event()
        self._ended = trio.Event()
        self._doubt = trio.Event()
        self._turn = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._end = ""
        self._paused = False
        self.pool = Pool(
            self._dial,
            max_idle=settings.max_idle_connections,
            idle_timeout=_IDLE_TIMEOUT,
            write_timeout=settings.read_timeout,
        )
        self._asking = Asking(self.pool, self._dial)
        self.number = number
        self.started_at = trio.current_time()
        self.instance: Instance | None = None
        self.running = Running()
        self.up = True
        self.starting = True
        self.ready = False
        self.dozing = False
        self.ready_at = 0.0
        self.failure = ""
        self.reason = ""

    def __repr__(self) -> str:
        return f"<Replica {self.number} {self.name} {'ready' if self.ready else self.reason or 'not ready'}>"

    @property
    def name(self) -> str:
        """The instance's, empty before it is started."""
        return self.instance.name if self.instance is not None else ""

    @property
    def place(self) -> str:
        """Where it listens, for a person."""
        return self.instance.place if self.instance is not None else ""

    @property
    def can_doze(self) -> bool:
        """Whether the instance knows how to stand still."""
        return hasattr(self.instance, "pause")

    async def _dial(self) -> socket.socket:
        if self.instance is None:
            raise ConnectFailed("it is not started")
        return await self.instance.dial()

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """One call, with the Host that the client named."""
        with self.running:
            try:
                await relay(
                    self.pool, b"", b"Host: %s\r\n" % (invocation.host or b"localhost"), invocation, reply
                )
            except PEER_ERRORS as error:
                raise unavailable(error) from error

    async def usage(self) -> Usage | None:
        """What the instance uses, if it runs and that is known."""
        return await self.instance.usage() if self.instance is not None and not self._ended.is_set() else None

    def retire(self, patience: float) -> None:
        """No more calls: let the running ones finish, at most for so many seconds from now on, then stop it."""
        self.reason = self.reason or self.RETIRED
        self.up = self.dozing = False
        self._set_ready(False)
        self._draining.deadline = min(self._draining.deadline, trio.current_time() + patience)
        self._retire.set()
        if self.instance is None:
            self._scope.cancel()

    def doubt(self) -> None:
        """It refused a connection: no more calls until it answers again."""
        self._set_ready(False)
        self._doubt.set()

    def doze(self) -> None:
        """Stand still when the running calls have finished; if it cannot, it is retired."""
        self.up, self.dozing = False, True
        self._set_ready(False)
        if self._nursery is not None:
            self._nursery.start_soon(self._pause)

    def wake(self) -> None:
        """Go on."""
        self.up, self.dozing = True, False
        if self._nursery is not None:
            self._nursery.start_soon(self._resume)

    def _set_ready(self, ready: bool) -> None:
        self.starting = False
        if ready is not self.ready:
            self.ready = ready
            self._watcher.changed(self)

    async def live(self) -> None:
        """Returns when it has ended, by itself or because it was retired, and nothing of it is left."""
        patience = trio.current_time() + self._settings.start_timeout
        try:
            with self._scope:
                self._scope.deadline = patience
                async with self._open(self.number) as instance:
                    self._scope.deadline = math.inf
                    self.instance = instance
                    try:
                        await self._serve(instance, patience)
                    except FunctionUnavailable as error:  # here: an instance's own nursery would wrap it
                        self.reason = self.reason or str(error)
                    finally:
                        self._over()
                        self.pool.close_idle()
            if self._scope.cancelled_caught:
                self.reason = (
                    self.reason or f"not ready within {self._settings.start_timeout}: it does not start"
                )
        except (FunctionUnavailable, ConfigError) as error:
            self.reason = self.reason or str(error)
        finally:
            self._over()
            with trio.CancelScope(shield=True):
                await self.pool.aclose()

    def _over(self) -> None:
        self.up = self.dozing = False
        self._set_ready(False)

    async def _serve(self, instance: Instance, patience: float) -> None:
        """From its start to its end, or until it is retired."""
        async with open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self.pool.run)
            nursery.start_soon(self._follow, instance)
            nursery.start_soon(self._until_retired, nursery.cancel_scope)
            await self._become_ready(patience)
            nursery.start_soon(self._settle_doubts)
            if self._probes.ready is not None and self._probes.watched:
                nursery.start_soon(self._asking.watch, self._probes.ready, self._asleep, self._probed)
            if self._probes.health is not None:
                nursery.start_soon(self._until_unwell, self._probes.health)
            await self._ended.wait()
            nursery.cancel_scope.cancel()
        self.reason = self.reason or self._end

    async def _follow(self, instance: Instance) -> None:
        self._end = await instance.wait()
        self._over()
        self._ended.set()

    async def _until_retired(self, scope: trio.CancelScope) -> None:
        await self._retire.wait()
        with self._draining:
            await self.running.drained()
        scope.cancel()

    async def _become_ready(self, patience: float) -> None:
        with trio.CancelScope(deadline=patience) as scope:
            async with open_nursery() as nursery:
                nursery.start_soon(self._ends_first, nursery.cancel_scope)
                await self._asking.until_ready(self._probes.ready, self._failed)
                nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            why = self.failure or "it does not answer"
            raise FunctionUnavailable(f"not ready within {self._settings.start_timeout}: {why}")
        if self._ended.is_set() and not self.ready_at:
            raise FunctionUnavailable(f"{self._end} before it was ready")
        if self.up:
            self.failure = ""
            self.ready_at = self.ready_at or trio.current_time()
            self._set_ready(True)

    def _failed(self, reason: str) -> None:
        self.failure = reason

    async def _ends_first(self, scope: trio.CancelScope) -> None:
        await self._ended.wait()
        scope.cancel()

    async def _settle_doubts(self) -> None:
        """What refuses connections for start_timeout is ended, so that another takes its place."""
        while True:
            await self._doubt.wait()
            self._doubt = trio.Event()
            if self.up:
                await self._become_ready(trio.current_time() + self._settings.start_timeout)

    def _asleep(self) -> bool:
        return not self.up

    async def _probed(self, failure: str) -> None:
        self.failure = failure
        if failure and self.up:
            self._watcher.unready(self, failure)
        if self.up:
            self._set_ready(not failure)

    async def _until_unwell(self, probe: Probe) -> None:
        reason = await self._asking.until_unwell(probe, self._asleep)
        self.retire(self._settings.write_timeout or math.inf)
        self._watcher.unwell(self, reason)

    async def _pause(self) -> None:
        async with self._turn:
            await self.running.drained()
            instance: Any = self.instance
            if self.dozing:
                self.pool.close_idle()
                self._paused = await instance.pause()
                if not self._paused and self.dozing:
                    self.retire(0)

    async def _resume(self) -> None:
        async with self._turn:
            instance: Any = self.instance
            if self._paused:
                await instance.resume()
                self._paused = False
            if self.up:
                await self._become_ready(trio.current_time() + self._settings.start_timeout)
