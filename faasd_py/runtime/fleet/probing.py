"""How one replica is asked whether it is ready, and whether it is well."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.probes import Probe, Tally, health_probe, ready_probe, watched
from faasd_py.http.client import Dial, Pool
from faasd_py.http.collect import Collector
from faasd_py.runtime.relay import PEER_ERRORS

_FIRST_POLL: Final = 0.005
_LONGEST_POLL: Final = 0.25


class Probes(msgspec.Struct, frozen=True):
    """What a function's settings and annotations ask for; `watched`: readiness not only at the start."""

    ready: Probe | None
    health: Probe | None
    watched: bool


def probes(settings: FunctionSettings) -> Probes:
    """The probes of a function."""
    annotations = settings.annotations
    return Probes(
        ready=ready_probe(settings.ready_path, annotations),
        health=health_probe(settings.health_path, settings.health_interval, annotations),
        watched=watched(annotations),
    )


class Asking:
    """Asks one replica, over its pool."""

    def __init__(self, pool: Pool, dial: Dial) -> None:
        self._pool = pool
        self._dial = dial

    async def ask(self, probe: Probe | None) -> str:
        """Empty when it answers as it should, else why not. Without a probe a connection is enough."""
        if probe is None:
            return await self._connect()
        with trio.move_on_after(probe.timeout):
            return await self._get(probe.path)
        return f"{probe.path} did not answer within {probe.timeout:g}s"

    async def _connect(self) -> str:
        try:
            (await self._dial()).close()
        except PEER_ERRORS as error:
            return str(error)
        return ""

    async def _get(self, path: str) -> str:
        reply = Collector(0)
        try:
            await self._pool.request(b"GET", path.encode(), b"Host: localhost\r\n", b"", 0, None, reply)
        except PEER_ERRORS as error:
            return str(error)
        return "" if 200 <= reply.status < 300 else f"{path} answered {reply.status}"

    async def until_ready(self, probe: Probe | None, failed: Callable[[str], None]) -> None:
        """Returns when it is; each bad answer is told to `failed`."""
        tally = Tally(probe or Probe(path=""), well=False)
        wait = _FIRST_POLL
        await trio.sleep(probe.delay if probe else 0)
        while True:
            failure = await self.ask(probe)
            if tally.count(good=not failure):
                return
            if failure:
                failed(failure)
            await trio.sleep(wait)
            wait = min(wait * 2, _LONGEST_POLL)

    async def until_unwell(self, probe: Probe, asleep: Callable[[], bool]) -> str:
        """Returns the last reason when `failures` answers in a row were bad; nobody is asked while `asleep`."""
        tally = Tally(probe, well=True)
        await trio.sleep(probe.delay)
        while True:
            await trio.sleep(probe.period)
            if not asleep():
                failure = await self.ask(probe)
                if not tally.count(good=not failure):
                    return failure

    async def watch(
        self, probe: Probe, asleep: Callable[[], bool], changed: Callable[[str], Awaitable[None]]
    ) -> None:
        """Tell `changed` why it is not ready any more, and with an empty text that it is again. Until cancelled."""
        tally = Tally(probe, well=True)
        while True:
            await trio.sleep(probe.period)
            was, failure = tally.well, "" if asleep() else await self.ask(probe)
            if tally.count(good=not failure) is not was:
                await changed(failure)
