"""One long-lived process of mode `http`: started, waited for until it answers, followed, and stopped."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.hookspecs import RuntimeSite
from faasd_py.http.client import Dial, Pool, dial_tcp, dial_unix
from faasd_py.http.collect import Collector
from faasd_py.runtime.child import Child, Program
from faasd_py.runtime.contract import Invocation, Reply
from faasd_py.runtime.lines import Lines
from faasd_py.runtime.machinery import Machinery
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.pipes import outlet
from faasd_py.runtime.ports import LOOPBACK
from faasd_py.runtime.program import prepare
from faasd_py.runtime.relay import PEER_ERRORS, relay, unavailable
from faasd_py.runtime.run import describe
from faasd_py.runtime.running import Running

_VARIABLE: Final = re.compile(r"\$(?:(PORT|UNIX_SOCKET)\b|\{(PORT|UNIX_SOCKET)\})")
_CONNECT_TIMEOUT: Final = 5.0
_IDLE_TIMEOUT: Final = 30.0
_FIRST_POLL: Final = 0.005
_LONGEST_POLL: Final = 0.25


class Replica:
    """`live` is its whole life: `starting`, then `ready` while calls may be given to it; `reason` says why it ended."""

    RETIRED: Final = "retired"

    def __init__(self, site: RuntimeSite, number: int, on_ready: Callable[[Replica], None]) -> None:
        self._site = site
        self._settings = site.settings
        self._machinery: Machinery = site.machinery
        self._on_ready = on_ready
        self._retire = trio.Event()
        self._ended = trio.Event()
        self.gone = trio.Event()
        self._lines: list[Lines] = []
        self._socket = str(site.directory.absolute() / f"{number}.sock") if site.settings.unix_socket else ""
        self._port = 0 if self._socket else site.settings.port or self._machinery.ports.take()
        self.pool = Pool(
            self._dial(),
            max_idle=site.settings.max_idle_connections,
            idle_timeout=_IDLE_TIMEOUT,
            write_timeout=site.settings.read_timeout,
        )
        self.child: Child | None = None
        self.running = Running()
        self.starting = True
        self.ready = False
        self.ready_at = 0.0
        self.used_at = trio.current_time()
        self.reason = ""

    @property
    def place(self) -> str:
        """Where it listens, for a person: its socket's path, or `127.0.0.1:PORT`."""
        return self._socket or f"{LOOPBACK}:{self._port}"

    def __repr__(self) -> str:
        return f"<Replica {self.place} {self.child} {'ready' if self.ready else self.reason}>"

    def _dial(self) -> Dial:
        if self._socket:
            return dial_unix(self._socket, _CONNECT_TIMEOUT)
        return dial_tcp(LOOPBACK, self._port, _CONNECT_TIMEOUT)

    def retire(self) -> None:
        """No more calls: let the running ones finish, then stop it."""
        self.ready = self.starting = False
        self._retire.set()

    async def live(self) -> None:
        """Returns when it has ended, by itself or because it was retired, and nothing of it is left."""
        program = self._program()
        try:
            async with open_nursery() as nursery:
                await self._start(program)
                nursery.start_soon(self.pool.run)
                nursery.start_soon(self._until_retired, nursery.cancel_scope)
                await self._become_ready()
                await self._ended.wait()
                nursery.cancel_scope.cancel()
            self.reason = self.reason or self._why()
        except FunctionUnavailable as error:
            self.reason = str(error)
        finally:
            self.ready = self.starting = False
            with trio.CancelScope(shield=True):
                await self._stop(program)

    async def _until_retired(self, scope: trio.CancelScope) -> None:
        await self._retire.wait()
        self.reason = self.RETIRED
        with trio.move_on_after(self._settings.write_timeout or math.inf):
            await self.running.drained()
        scope.cancel()

    def _program(self) -> Program:
        names = {"UNIX_SOCKET": self._socket} if self._socket else {"PORT": str(self._port)}
        command = [
            _VARIABLE.sub(lambda found: names.get(found[1] or found[2], found[0]), word)
            for word in self._settings.command or []
        ]
        settings = msgspec.structs.replace(self._settings, command=command)
        return prepare(msgspec.structs.replace(self._site, settings=settings), names)

    async def _start(self, program: Program) -> None:
        await self._check_port()
        theirs: list[int] = []
        try:
            for stream in ("stdout", "stderr"):
                ours, writing = outlet()
                theirs.append(writing)
                self._lines.append(Lines(self._machinery.pump, ours, self._site.log, stream=stream))
            fds = (self._machinery.null, theirs[0], theirs[1])
            self.child = await self._machinery.spawn(program, {}, fds, self._follow, self._end)
        except OSError as error:
            raise FunctionUnavailable(f"the process cannot be started: {error.strerror}") from error
        finally:
            for fd in theirs:
                os.close(fd)

    async def _check_port(self) -> None:
        """Whoever listens there now is a stranger: he must not be taken for the process that is to come."""
        if self._socket:
            return
        try:
            (await self._dial()()).close()
        except PEER_ERRORS:
            return
        raise FunctionUnavailable(f"another process listens on port {self._port}")

    def _follow(self) -> None:
        for lines in self._lines:
            if self.child is not None:
                lines.follow(self.child)

    def _end(self) -> None:
        self.ready = False
        self._ended.set()

    async def _become_ready(self) -> None:
        wait, failure = _FIRST_POLL, "it does not answer"
        with trio.move_on_after(self._settings.start_timeout) as patience:
            while failure := await self._probe():
                with trio.move_on_after(wait):
                    await self._ended.wait()
                    raise FunctionUnavailable(f"{self._why()} before it was ready")
                wait = min(wait * 2, _LONGEST_POLL)
        if patience.cancelled_caught:
            raise FunctionUnavailable(f"not ready within {self._settings.start_timeout}: {failure}")
        if not self._retire.is_set() and not self._ended.is_set():
            self.ready, self.starting = True, False
            self.ready_at = self.used_at = trio.current_time()
            self._on_ready(self)

    async def _probe(self) -> str:
        """Empty when it is ready, else why not."""
        if self._settings.ready_path is None:
            try:
                (await self._dial()()).close()
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

    def _why(self) -> str:
        child = self.child
        if child is None or child.status is None:
            return f"the process cannot be started: {child.failure if child else 'no helper'}"
        return f"the process ended with {describe(child.status)}"

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

    async def _stop(self, program: Program) -> None:
        self.pool.close_idle()
        child = self.child
        if child is not None and not child.gone:
            await (
                self._machinery.kill(child)
                if child.over
                else self._machinery.stop(child, self._settings.kill_grace)
            )
        for lines in self._lines:
            lines.close(child)
        if self._socket:
            Path(self._socket).unlink(missing_ok=True)  # noqa: ASYNC240 - a directory of ours, in memory
        elif not self._settings.port:
            self._machinery.ports.give_back(self._port)
        await self.pool.aclose()
        await self._machinery.forget(program)
