"""All the workers of one daemon: a lane for each function and each receiver that has calls waiting."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from faasd_py.callback.build import is_callback
from faasd_py.config import CallbackSettings, QueueSettings, WorkerSettings
from faasd_py.core.annotations import DEFAULT_QUEUE, queue_of
from faasd_py.core.errors import QueueError
from faasd_py.core.outcome import CANCEL, CRASHED
from faasd_py.hookspecs import ClaimLane
from faasd_py.observe.events import Events
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.contract import Queue
from faasd_py.queue.spool import Spool
from faasd_py.worker.calls import CallContext, Calls, Functions
from faasd_py.worker.deliveries import Deliveries, Delivers, DeliveryContext
from faasd_py.worker.lane import Lane, deal
from faasd_py.worker.paused import Paused
from faasd_py.worker.pools import Pools
from faasd_py.worker.run import Run
from faasd_py.worker.slots import Slots
from faasd_py.worker.watch import Watch
from faasd_py.worker.work import Work
from faasd_py.worker.worker import Worker

log: Final = logging.getLogger("faasd_py.worker")
TICK: Final = 15.0
"""Seconds between two looks at what is idle."""
HARD_STOP: Final = 10.0
"""Seconds that attempts have to end after they were cancelled."""
RECEIVERS: Final = 4
"""Deliveries at once in the whole house: so many times `[callback] max_inflight`."""


class RunningCall(msgspec.Struct, frozen=True, kw_only=True):
    """A call that a worker has now; `started_at` is in seconds since 1970."""

    id: str
    call_id: str
    lane: str
    attempt: int
    started_at: float


class Workers:
    """Takes calls from the queue and runs them.

    Function calls share `[workers] max_inflight` slots, or those of their named queue, dealt lane by lane; deliveries have
    slots of their own, so that receivers who do not answer cannot hold up functions. `clock` gives seconds since 1970, `roll` random numbers in
    [0, 1); `max_answer` bounds the answers kept for callbacks, in bytes.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        registry: Functions,
        messenger: Delivers,
        spool: Spool,
        metrics: Metrics,
        events: Events,
        settings: WorkerSettings,
        queue_settings: QueueSettings,
        callback_settings: CallbackSettings,
        clock: Callable[[], float] = time.time,
        roll: Callable[[], float] = random.random,
        max_answer: int = 1 << 30,
        paused: Paused | None = None,
    ) -> None:
        self._queue = queue
        self._messenger = messenger
        self._clock = clock
        self._running: set[Run] = set()
        self._watch = Watch(self._running)
        self._call_context = CallContext(
            queue=queue, registry=registry, spool=spool, metrics=metrics, events=events, settings=settings,
            queue_settings=queue_settings, watch=self._watch, clock=clock, roll=roll, max_answer=max_answer,
        )  # fmt: skip
        self._delivery_context = DeliveryContext(
            queue=queue, messenger=messenger, metrics=metrics, events=events, settings=callback_settings, roll=roll
        )  # fmt: skip
        self._pools: Pools[Worker] = Pools(settings.max_inflight, _groups(settings))
        self._delivery_slots: Slots[Worker] = Slots(callback_settings.max_inflight * RECEIVERS)
        self._lanes: dict[str, Lane] = {}
        self._claims: list[ClaimLane] = []
        self.paused = Paused() if paused is None else paused
        self._held: set[str] = set()
        """Lanes that the queue gave us to serve and that are paused."""
        self._nursery: trio.Nursery | None = None
        self._helpers = trio.CancelScope()
        self._dispatching = trio.CancelScope()
        self._draining = False
        self._empty = trio.Event()

    def __repr__(self) -> str:
        return f"<Workers: {len(self._running)} running, {len(self._lanes)} lanes>"

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Work until drained; cancelled, it leaves leases as a crash would."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._run_helpers)
                task_status.started()
        finally:
            self._nursery = None
            self._messenger.close()

    async def drain(self, grace: float) -> None:
        """Take no more calls; wait up to `grace` seconds for those that run, then stop them and hand them back.

        An attempt that was stopped counts as one, and to its call it is as if the daemon had died. Returns when everything is settled, and `run` ends then; what has
        not ended HARD_STOP seconds after it was cancelled is left as a crash would leave it. May be called again,
        with less patience.
        """
        self._draining = True
        self._dispatching.cancel()
        for lane in list(self._lanes.values()):
            lane.close()
        self._check_empty()
        with trio.move_on_after(grace):
            await self._empty.wait()
        if not self._empty.is_set():
            log.warning("stopping %d calls that still run", len(self._running))
            for run in list(self._running):
                run.interrupt(CRASHED)
        with trio.move_on_after(HARD_STOP):
            await self._empty.wait()
        self._helpers.cancel()
        if not self._empty.is_set() and self._nursery is not None:
            log.error("these calls do not end and are left behind: %s", ", ".join(map(repr, self._running)))
            self._nursery.cancel_scope.cancel()

    def cancel(self, call: str) -> bool:
        """Stop the running attempts of a call, by queue id or X-Call-Id, and settle it CANCEL; whether there was one."""
        runs = [run for run in self._running if call in {run.lease.call.call_id, run.lease.id}]
        for run in runs:
            run.interrupt(CANCEL)
        return bool(runs)

    def running(self) -> list[RunningCall]:
        """What runs now, longest first."""
        found = [
            RunningCall(
                id=run.lease.id,
                call_id=run.lease.call_id,
                lane=run.lease.call.lane,
                attempt=run.lease.attempt,
                started_at=run.started_at,
            )
            for run in self._running
        ]
        return sorted(found, key=lambda one: one.started_at)

    def reconfigure(
        self,
        settings: WorkerSettings,
        callback_settings: CallbackSettings | None = None,
        queue_settings: QueueSettings | None = None,
    ) -> None:
        """Apply new settings at once, and the functions' own as the registry has them now."""
        self._call_context.settings = settings
        if queue_settings is not None:
            self._call_context.queue_settings = queue_settings
        if callback_settings is not None:
            self._delivery_context.settings = callback_settings
        deliveries = self._delivery_context.settings.max_inflight * RECEIVERS
        for slots, woken in self._pools.resize(settings.max_inflight, _groups(settings)):
            deal(slots, woken)
        deal(self._delivery_slots, self._delivery_slots.resize(deliveries))
        self.refresh()

    def refresh(self) -> None:
        """Heed what the functions' own settings say now."""
        for lane in list(self._lanes.values()):
            lane.move(self._slots_of(lane.name))
            lane.refresh()
            lane.promote()

    def _slots_of(self, name: str) -> Slots[Worker]:
        if is_callback(name):
            return self._delivery_slots
        function = self._call_context.registry.lane(name)
        return self._pools.of(DEFAULT_QUEUE if function is None else queue_of(function.settings.annotations))

    async def _run_helpers(self) -> None:
        with self._helpers:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch.run)
                nursery.start_soon(self._tidy)
                nursery.start_soon(self._dispatch)

    async def _dispatch(self) -> None:
        """Serve every lane that the queue announces."""
        with self._dispatching:
            while not self._draining:
                try:
                    self._open(await self._queue.next_lane())
                except QueueError as error:
                    log.warning("no lanes for now: %s", error)
                    await trio.sleep(error.retry_after)

    def claim_lanes(self, claim: ClaimLane) -> None:
        """Ask `claim` about each lane before it is served: see `hookspecs.ServiceSite`."""
        self._claims.append(claim)

    def _claimed(self, name: str) -> bool:
        """Every claim is asked: those that do not take the lane over learn of it."""
        ours = is_callback(name) or self._call_context.registry.lane(name) is not None
        answers = [claim(name, ours) for claim in self._claims]
        return any(answers)

    async def pause(self, name: str) -> bool:
        """No call of this lane is begun from now on; those that run are finished. Whether it was going.

        Raises:
            StoreFailed: it cannot be kept for the next start; nothing has changed.
        """
        return await self.paused.add(name, self._clock(), self._halt)

    async def resume(self, name: str) -> bool:
        """The lane goes on. Whether it was paused; raises as `pause`."""
        return await self.paused.remove(name, self._go_on)

    def _halt(self, name: str) -> None:
        self._call_context.events.emit("lane.paused", function=name)
        if lane := self._lanes.get(name):
            lane.close()

    def _go_on(self, name: str) -> None:
        self._call_context.events.emit("lane.resumed", function=name)
        lane = self._lanes.get(name)
        if name in self._held:
            self._held.remove(name)
            self._open(name)
        elif lane is not None and not self._draining:
            lane.reopen()

    def _open(self, name: str) -> None:
        if name in self._lanes:
            log.error("lane %s was announced twice", name)
            return
        if name in self.paused:
            self._held.add(name)
            return
        if self._claims and self._claimed(name):
            return
        if is_callback(name):
            work: Work = Deliveries(name, self._delivery_context)
        else:
            work = Calls(name, self._call_context)
        lane = Lane(name, work, self._slots_of(name), self._hire)
        self._lanes[name] = lane
        lane.promote()
        if self._draining:
            lane.close()

    def _hire(self, lane: Lane) -> Worker:
        assert self._nursery is not None  # noqa: S101 - only what runs hires
        worker = Worker(lane, self._queue, self._running, self._clock, self._left)
        lane.workers.add(worker)
        self._nursery.start_soon(worker.run, name=f"worker of {lane.name}")
        return worker

    def _left(self, lane: Lane) -> None:
        """A worker has ended; the last one of a lane that closes takes the lane with it."""
        if lane.closing and not lane.workers:
            del self._lanes[lane.name]
            self._queue.leave(lane.name)
        self._check_empty()

    def _check_empty(self) -> None:
        if self._draining and not self._lanes:
            self._empty.set()

    async def _tidy(self) -> None:
        """Now and then, send idle workers away, and leave lanes that had no call since the last time."""
        seen: dict[str, int] = {}
        while True:
            await trio.sleep(TICK)
            for lane in list(self._lanes.values()):
                if lane.waiting and not lane.running and seen.get(lane.name) == lane.leases:
                    lane.close()
                else:
                    lane.shrink()
            seen = {lane.name: lane.leases for lane in self._lanes.values()}
            self._call_context.metrics.flow.tick(self._clock())
            self.refresh()
            self._messenger.tidy()


def _groups(settings: WorkerSettings) -> dict[str, int]:
    return {name: group.max_inflight for name, group in settings.groups.items()}
