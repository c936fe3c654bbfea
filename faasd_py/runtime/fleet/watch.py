"""Looks at a fleet's load now and then, and has the number of replicas follow it. An idle fleet is not looked at."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from faasd_py.core.scaling import Load, Scaler, Scaling
from faasd_py.runtime.contract import Usage
from faasd_py.runtime.running import Running

_LONGEST_TICK: Final = 1.0
_SHORTEST_TICK: Final = 0.02


class Watch:
    """`began` at each call; `run` is the task. `meet` is called when another number of replicas may be wanted."""

    __slots__ = (
        "_cpu", "_looked_at", "_meet", "_running", "_scaler", "_scaling", "_stirred", "_usage", "calls", "peak",
        "resting",
    )  # fmt: skip

    def __init__(
        self,
        scaling: Scaling,
        scaler: Scaler,
        running: Running,
        meet: Callable[[], None],
        usage: Callable[[], Awaitable[Usage | None]],
    ) -> None:
        self._scaling = scaling
        self._scaler = scaler
        self._running = running
        self._meet = meet
        self._usage = usage
        self._stirred = trio.Event()
        self._looked_at = trio.current_time()
        self._cpu = math.nan
        self.calls = 0
        """Since the last look."""
        self.peak = 0
        """Calls in flight at most, since the last look."""
        self.resting = False

    def began(self) -> None:
        """A call is among those that run."""
        self.calls += 1
        inflight = self._running.count
        self.peak = max(self.peak, inflight)
        if self.resting:
            self.stir()

    def stir(self) -> None:
        """Look again."""
        self.resting = False
        self._stirred.set()

    @property
    def _unchanging(self) -> bool:
        """Whatever the load, so many replicas it will be."""
        return self._scaling.fixed and self._scaler.automatic

    @property
    def _tick(self) -> float:
        return min(_LONGEST_TICK, max(_SHORTEST_TICK, min(self._scaling.hold, self._scaling.zero_after) / 4))

    async def run(self) -> None:
        """Until cancelled."""
        load = Load()
        while True:
            if self._unchanging or (load.quiet and not self.calls):
                await self._rest()
            await trio.sleep(self._tick)
            load = await self._load()
            self._scaler.look(trio.current_time(), load)
            self._meet()

    async def _rest(self) -> None:
        """Until a call comes, or until fewer are wanted because none does."""
        self._stirred = trio.Event()
        self.resting = not self._unchanging
        with trio.CancelScope(deadline=self._scaler.next_change()):
            await self._stirred.wait()
        self.resting = False
        self._looked_at, self._cpu = trio.current_time(), math.nan

    async def _load(self) -> Load:
        now = trio.current_time()
        seconds, self._looked_at = max(1e-6, now - self._looked_at), now
        calls, self.calls = self.calls, 0
        inflight = self._running.count
        peak, self.peak = max(self.peak, inflight), inflight
        return Load(peak, calls / seconds, await self._millicores(seconds))

    async def _millicores(self, seconds: float) -> float:
        if self._scaling.kind != "cpu":
            return 0.0
        usage = await self._usage()
        used = math.nan if usage is None else usage.cpu_seconds
        before, self._cpu = self._cpu, used
        spent = used - before
        return spent * 1000 / seconds if spent > 0 else 0.0
