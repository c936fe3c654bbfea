"""One long-lived process of mode `http`: an `Instance` of a fleet."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.hookspecs import RuntimeSite
from faasd_py.http.client import Dial, dial_tcp, dial_unix
from faasd_py.http.errors import ConnectFailed
from faasd_py.runtime.child import Child, Program
from faasd_py.runtime.contract import Usage
from faasd_py.runtime.fleet.instance import OpenInstance
from faasd_py.runtime.lines import Lines
from faasd_py.runtime.machinery import Machinery
from faasd_py.runtime.pipes import outlet
from faasd_py.runtime.ports import LOOPBACK
from faasd_py.runtime.program import prepare
from faasd_py.runtime.relay import PEER_ERRORS
from faasd_py.runtime.run import ending

_VARIABLE: Final = re.compile(r"\$(?:(PORT|UNIX_SOCKET)\b|\{(PORT|UNIX_SOCKET)\})")
_CONNECT_TIMEOUT: Final = 5.0


class ServingProcess:
    """A process that serves HTTP on a port of 127.0.0.1, or on the unix socket `path`."""

    def __init__(self, site: RuntimeSite, *, path: str = "", port: int = 0) -> None:
        self._site = site
        self._machinery: Machinery = site.machinery
        self._path = path
        self._port = port
        self._connect: Dial = (
            dial_unix(path, _CONNECT_TIMEOUT) if path else dial_tcp(LOOPBACK, port, _CONNECT_TIMEOUT)
        )
        self._lines: list[Lines] = []
        self._child: Child | None = None
        self._ended = trio.Event()

    def __repr__(self) -> str:
        return f"<ServingProcess {self.place} {self._child}>"

    @property
    def name(self) -> str:
        """Its pid."""
        return str(self._child.pid if self._child else 0)

    @property
    def place(self) -> str:
        """Its socket's path, or `127.0.0.1:PORT`."""
        return self._path or f"{LOOPBACK}:{self._port}"

    async def dial(self) -> socket.socket:
        """See Instance. Whoever listens before the process is known to be there is a stranger."""
        if self._child is None or not self._child.pid:
            raise ConnectFailed("it is not started")
        return await self._connect()

    async def wait(self) -> str:
        """See Instance."""
        await self._ended.wait()
        child = self._child
        if child is None or child.status is None:
            return f"the process cannot be started: {child.failure if child else 'no helper'}"
        return f"the process ended with {ending(child)}"

    async def usage(self) -> Usage | None:
        """Of its process group; see Instance."""
        if self._child is None or self._child.gone:
            return None
        return await self._machinery.usages.of(self._child.pid)

    async def pause(self) -> bool:
        """See Instance: its process group is stopped; what has left the group runs on."""
        return self._child is not None and await self._machinery.pause(self._child)

    async def resume(self) -> None:
        """See Instance."""
        if self._child is not None:
            await self._machinery.resume(self._child)

    def program(self) -> Program:
        """What is started, with the place where it is to listen in its command and environment.

        Raises:
            ConfigError: it cannot be run as it is set up.
        """
        names = {"UNIX_SOCKET": self._path} if self._path else {"PORT": str(self._port)}
        settings = self._site.settings
        command = [
            _VARIABLE.sub(lambda found: names.get(found[1] or found[2], found[0]), word)
            for word in settings.command or []
        ]
        settings = msgspec.structs.replace(settings, command=command)
        return prepare(msgspec.structs.replace(self._site, settings=settings), names)

    async def start(self, program: Program) -> None:
        """Start it; whether it could be is told by `wait`.

        Raises:
            FunctionUnavailable: a stranger listens where it should, or nothing can be started.
        """
        await self._check_port()
        theirs: list[int] = []
        try:
            for stream in ("stdout", "stderr"):
                ours, writing = outlet()
                theirs.append(writing)
                self._lines.append(Lines(self._machinery.pump, ours, self._site.log, stream=stream))
            fds = (self._machinery.null, theirs[0], theirs[1])
            self._child = await self._machinery.spawn(program, {}, fds, self._follow, self._ended.set)
        except OSError as error:
            raise FunctionUnavailable(f"the process cannot be started: {error.strerror}") from error
        finally:
            for fd in theirs:
                os.close(fd)

    async def _check_port(self) -> None:
        """Whoever listens there now is a stranger: he must not be taken for the process that is to come."""
        if self._path:
            return
        try:
            (await self._connect()).close()
        except PEER_ERRORS:
            return
        raise FunctionUnavailable(f"another process listens on port {self._port}")

    def _follow(self) -> None:
        for lines in self._lines:
            if self._child is not None:
                lines.follow(self._child)

    async def stop(self) -> None:
        """TERM to its group, KILL after kill_grace; what it leaves behind when it has ended by itself is killed."""
        child = self._child
        if child is not None and not child.gone:
            await (
                self._machinery.kill(child)
                if child.over
                else self._machinery.stop(child, self._site.settings.kill_grace)
            )
        for lines in self._lines:
            lines.close(child)


class Places:
    """Where the processes of one function listen: a fixed port, which one at a time can have, a free one, or a socket."""

    def __init__(self, site: RuntimeSite) -> None:
        self._site = site
        self._machinery: Machinery = site.machinery
        self._turn = trio.Lock()

    @asynccontextmanager
    async def open(self, number: int) -> AsyncIterator[ServingProcess]:
        """The place of instance `number`, and a process that is not started yet."""
        settings = self._site.settings
        if settings.unix_socket:
            path = self._site.directory.absolute() / f"{number}.sock"
            with _removed(path):
                yield ServingProcess(self._site, path=str(path))
        elif settings.port:
            async with self._turn:
                yield ServingProcess(self._site, port=settings.port)
        else:
            with self._lent() as port:
                yield ServingProcess(self._site, port=port)

    @contextmanager
    def _lent(self) -> Iterator[int]:
        try:
            port = self._machinery.ports.take()
        except OSError as error:
            raise FunctionUnavailable(f"the process cannot be started: {error.strerror}") from error
        try:
            yield port
        finally:
            self._machinery.ports.give_back(port)


@contextmanager
def _removed(path: Path) -> Iterator[None]:
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # a directory of ours, in memory


def processes(site: RuntimeSite) -> OpenInstance:
    """The `OpenInstance` of a function in mode `http`."""
    places = Places(site)

    def open_process(number: int) -> AbstractAsyncContextManager[ServingProcess]:
        return _opened(site, places, number)

    return open_process


@asynccontextmanager
async def _opened(site: RuntimeSite, places: Places, number: int) -> AsyncIterator[ServingProcess]:
    async with places.open(number) as process:
        program = process.program()
        try:
            await process.start(program)
            yield process
        finally:
            with trio.CancelScope(shield=True):
                await process.stop()
                await site.machinery.forget(program)
