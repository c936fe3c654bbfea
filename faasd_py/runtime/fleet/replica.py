"""One replica of a fleet: started, waited for until it answers, followed, and stopped."""

from __future__ import annotations

import math
import socket
from collections.abc import Callable
from typing import Final

import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError, FunctionUnavailable
from faasd_py.http.client import Pool
from faasd_py.http.collect import Collector
from faasd_py.http.errors import ConnectFailed
from faasd_py.runtime.contract import Invocation, Reply, Usage
from faasd_py.runtime.fleet.instance import Instance, OpenInstance
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.relay import PEER_ERRORS, relay, unavailable
from faasd_py.runtime.running import Running

_IDLE_TIMEOUT: Final = 30.0
_FIRST_POLL: Final = 0.005
_LONGEST_POLL: Final = 0.25


class Replica:
    """`live` is its whole life: `starting`, then `ready` while calls may be given to it; `reason` says why it ended."""

    RETIRED: Final = "retired"

    def __init__(
        self,
        settings: FunctionSettings,
        number: int,
        open_instance: OpenInstance,
        on_change: Callable[[Replica], None],
    ) -> None:
        self._settings = settings
        self._number = number
        self._open = open_instance
        self._on_change = on_change
        self._retired = False
        self._scope = trio.CancelScope()
        """Around all of its life until it runs, then around its service."""
        self._retire = trio.Event()
        self._ended = trio.Event()
        self._end = ""
        self.pool = Pool(
            self._dial,
            max_idle=settings.max_idle_connections,
            idle_timeout=_IDLE_TIMEOUT,
            write_timeout=settings.read_timeout,
        )
        self.instance: Instance | None = None
        self.running = Running()
        self.starting = True
        self.ready = False
        self.ready_at = 0.0
        self.used_at = trio.current_time()
        self.reason = ""

    def __repr__(self) -> str:
        return f"<Replica {self._number} {self.name} {'ready' if self.ready else self.reason or 'starting'}>"

    @property
    def name(self) -> str:
        """The instance's, empty before it is started."""
        return self.instance.name if self.instance is not None else ""

    @property
    def place(self) -> str:
        """Where it listens, for a person."""
        return self.instance.place if self.instance is not None else ""

    async def _dial(self) -> socket.socket:
        if self.instance is None:
            raise ConnectFailed("it is not started")
        return await self.instance.dial()

    def retire(self) -> None:
        """No more calls: let the running ones finish, then stop it."""
        self.reason = self.RETIRED
        self._unready()
        self._retire.set()
        if self.instance is None:
            self._scope.cancel()

    def _unready(self) -> None:
        self.starting = False
        if self.ready:
            self.ready = False
            self._on_change(self)

    async def live(self) -> None:
        """Returns when it has ended, by itself or because it was retired, and nothing of it is left."""
        patience = trio.current_time() + self._settings.start_timeout
        try:
            with self._scope:
                self._scope.deadline = patience
                async with self._open(self._number) as instance:
                    self._scope.deadline = math.inf
                    self.instance = instance
                    try:
                        await self._serve(instance, patience)
                    finally:
                        self._unready()
                        self.pool.close_idle()
            if self._scope.cancelled_caught:
                self.reason = (
                    self.reason or f"not ready within {self._settings.start_timeout}: it does not start"
                )
        except (FunctionUnavailable, ConfigError) as error:
            self.reason = self.reason or str(error)
        finally:
            self._unready()
            with trio.CancelScope(shield=True):
                await self.pool.aclose()

    async def _serve(self, instance: Instance, patience: float) -> None:
        """From its start to its end, or until it is retired."""
        async with open_nursery() as nursery:
            nursery.start_soon(self.pool.run)
            nursery.start_soon(self._follow, instance)
            nursery.start_soon(self._until_retired, nursery.cancel_scope)
            await self._become_ready(patience)
            await self._ended.wait()
            nursery.cancel_scope.cancel()
        self.reason = self.reason or self._end

    async def _follow(self, instance: Instance) -> None:
        self._end = await instance.wait()
        self._unready()
        self._ended.set()

    async def _until_retired(self, scope: trio.CancelScope) -> None:
        await self._retire.wait()
        with trio.move_on_after(self._settings.write_timeout or math.inf):
            await self.running.drained()
        scope.cancel()

    async def _become_ready(self, patience: float) -> None:
        wait, failure = _FIRST_POLL, "it does not answer"
        with trio.CancelScope(deadline=patience) as scope:
            while failure := await self._probe():
                with trio.move_on_after(wait):
                    await self._ended.wait()
                    raise FunctionUnavailable(f"{self._end} before it was ready")
                wait = min(wait * 2, _LONGEST_POLL)
        if scope.cancelled_caught:
            raise FunctionUnavailable(f"not ready within {self._settings.start_timeout}: {failure}")
        if not self._retire.is_set() and not self._ended.is_set():
            self.ready, self.starting = True, False
            self.ready_at = self.used_at = trio.current_time()
            self._on_change(self)

    async def _probe(self) -> str:
        """Empty when it is ready, else why not."""
        if self._settings.ready_path is None:
            try:
                (await self._dial()).close()
            except PEER_ERRORS as error:
                return str(error)
            return ""
        reply = Collector(0)
        path = "/" + self._settings.ready_path.lstrip("/")
        try:
            await self.pool.request(b"GET", path.encode(), b"Host: localhost\r\n", b"", 0, None, reply)
        except PEER_ERRORS as error:
            return str(error)
        return "" if 200 <= reply.status < 300 else f"{path} answered {reply.status}"

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """One call, with the Host that the client named."""
        with self.running:
            try:
                await relay(
                    self.pool, b"", b"Host: %s\r\n" % (invocation.host or b"localhost"), invocation, reply
                )
            except PEER_ERRORS as error:
                raise unavailable(error) from error
            finally:
                self.used_at = trio.current_time()

    async def usage(self) -> Usage | None:
        """What the instance uses, if it runs and that is known."""
        return await self.instance.usage() if self.instance is not None and not self._ended.is_set() else None
