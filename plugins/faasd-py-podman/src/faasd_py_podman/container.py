"""One container: created, started, followed, reached, stopped and removed. It is an `Instance` of a fleet."""

from __future__ import annotations

import logging
import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from faasd_py.api import ConnectFailed, FunctionUnavailable, RuntimeSite, Usage, dial_tcp
from faasd_py_podman.lines import Lines
from faasd_py_podman.podman import Podman
from faasd_py_podman.rest import PodmanError
from faasd_py_podman.spec import Box, port_of, spec

log: Final = logging.getLogger("faasd_py_podman")
_CONNECT_TIMEOUT: Final = 5.0
_LINES_WITHIN: Final = 1.0
"""Seconds after the end of a container in which its last lines come."""
_KNOWN_WITHIN: Final = 2.0
_DEAD_WITHIN: Final = 10.0
_REMOVED_WITHIN: Final = 30.0
_POLL: Final = 0.02
_KILLED: Final = 128 + signal.SIGKILL


class Container:
    """`open_container` makes it, and sees to its end."""

    def __init__(self, podman: Podman, site: RuntimeSite, box: Box) -> None:
        self._podman = podman
        self._site = site
        self._box = box
        self._id = ""
        self._pidfd = -1
        self._address = ""
        self._paused = False
        self._ended = trio.Event()
        self._watched = trio.Event()
        self._watching = trio.CancelScope()
        self._lines: Lines | None = None
        self._reading = False

    def __repr__(self) -> str:
        return f"<Container {self.name or self._box.name} of {self._site.name}>"

    @property
    def name(self) -> str:
        """The first 12 digits of its id, as podman shows it."""
        return self._id[:12]

    @property
    def place(self) -> str:
        """For a person: its name at podman and its port."""
        return f"{self._box.name}:{port_of(self._site)}"

    # its life

    async def start(self) -> None:
        """Create and start it.

        Raises:
            PodmanError: podman cannot, with its reason.
            FunctionUnavailable: it ended at once.
        """
        self._lines = Lines(self._box.log, self._site.log)
        self._id = await self._create()
        self._lines.instance = self.name
        self._reading = True
        self._podman.nursery.start_soon(self._lines.run)
        await self._podman.rest.call("POST", f"/containers/{self._id}/start")
        known = await self._known()
        self._watch(int(known["State"]["Pid"]))
        if self._pidfd < 0:
            self._ended.set()
            raise FunctionUnavailable(await self.wait())
        networks = known.get("NetworkSettings", {}).get("Networks") or {}
        self._address = (networks.get(self._box.network) or {}).get("IPAddress", "")

    async def _create(self) -> str:
        """Not to be cancelled: podman would go on, and nobody would know of what it made."""
        with trio.CancelScope(shield=True):
            body = spec(self._site, self._box)
            created = await self._podman.rest.call("POST", "/containers/create", body=body)
        return str(msgspec.json.decode(created)["Id"])

    async def _known(self) -> dict[str, Any]:
        return await self._podman.rest.ask(f"/containers/{self._id}/json")  # type: ignore[no-any-return]

    def _watch(self, pid: int) -> None:
        """Hold on to its first process, if it still is that: a pid may be given to another when its process has ended."""
        if not pid:
            return
        try:
            pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        if self._id not in _cgroup(pid):
            os.close(pidfd)
            return
        self._pidfd = pidfd
        self._podman.nursery.start_soon(self._until_ended)

    async def _until_ended(self) -> None:
        with self._watching:
            await trio.lowlevel.wait_readable(self._pidfd)
            self._ended.set()
        self._watched.set()

    async def wait(self) -> str:
        """See Instance."""
        await self._ended.wait()
        if self._lines is not None:
            await self._lines.drained(_LINES_WITHIN)
        last = list(self._lines.last) if self._lines is not None else []
        return f"the container {await self._how()}" + (f": {' | '.join(last)}" if last else "")

    async def _how(self) -> str:
        """How it ended, when podman knows."""
        with trio.move_on_after(_KNOWN_WITHIN), suppress(PodmanError):
            while (state := (await self._known())["State"])["Running"]:  # noqa: ASYNC110 - podman is told a little later than we
                await trio.sleep(_POLL)
            status, memory = state.get("ExitCode"), self._site.settings.limits.memory
            if state.get("OOMKilled") or (status == _KILLED and memory is not None):
                return f"was killed, as is what needs more memory than limits.memory ({memory})"
            return f"ended with exit status {status}"
        return "ended"

    async def stop(self) -> None:
        """TERM, KILL after kill_grace, remove. Works without podman's service, but for the removal."""
        await self._end()
        with trio.move_on_after(_REMOVED_WITHIN) as patience:
            try:
                await self._podman.remove(self._id or self._box.name)
            except PodmanError as error:
                log.warning("container %s is removed at the next start: %s", self._box.name, error)
        if patience.cancelled_caught:
            log.warning("container %s is removed at the next start: podman takes too long", self._box.name)
        await self._let_go()

    async def _end(self) -> None:
        if self._pidfd < 0 or self._ended.is_set():
            return
        if self._paused:
            with suppress(PodmanError):
                await self.resume()
        self._signal(signal.SIGTERM)
        with trio.move_on_after(self._site.settings.kill_grace):
            await self._ended.wait()
        self._signal(signal.SIGKILL)
        with trio.move_on_after(_DEAD_WITHIN):
            await self._ended.wait()

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, number)

    async def _let_go(self) -> None:
        if self._lines is not None:
            if self._reading and self._ended.is_set():
                await self._lines.drained(_LINES_WITHIN)
            await self._lines.aclose(running=self._reading)
        if self._pidfd >= 0:
            self._watching.cancel()
            await self._watched.wait()
            os.close(self._pidfd)
            self._pidfd = -1

    # what a fleet asks of it

    async def dial(self) -> socket.socket:
        """See Instance."""
        if self._pidfd < 0:
            raise ConnectFailed("the container does not run")
        if self._box.network != "none":
            return await dial_tcp(self._address, port_of(self._site), _CONNECT_TIMEOUT)()
        with trio.move_on_after(_CONNECT_TIMEOUT):
            return await self._podman.sockets.dial(self._pidfd, port_of(self._site))
        raise ConnectFailed(f"the container does not take a connection within {_CONNECT_TIMEOUT:g}s")

    async def usage(self) -> Usage | None:
        """See Instance."""
        try:
            told = await self._podman.rest.ask("/containers/stats", containers=self._id, stream="false")
            (stats,) = told["Stats"]
        except (PodmanError, KeyError, TypeError, ValueError):
            return None
        return Usage(cpu_seconds=stats["CPUNano"] / 1e9, memory_bytes=stats["MemUsage"])

    async def pause(self) -> bool:
        """Freeze it; False when podman cannot."""
        try:
            await self._podman.rest.call("POST", f"/containers/{self._id}/pause")
        except PodmanError:
            return False
        self._paused = True
        return True

    async def resume(self) -> None:
        """Go on where it was frozen. Raises PodmanError."""
        await self._podman.rest.call("POST", f"/containers/{self._id}/unpause")
        self._paused = False


def _cgroup(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cgroup").read_text("utf-8")
    except OSError:
        return ""
