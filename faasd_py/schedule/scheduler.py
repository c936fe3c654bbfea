"""The scheduler: one task that sleeps until a slot comes due, and then puts the call as any client would.

A call's Idempotency-Key is its slot, so a restart, a reload or a clock that was set back puts no slot twice. A queue that
knows no keys has the slot on record before the call is put: there it may be lost in a crash, but is not put twice either.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from math import inf
from typing import Final, Protocol

import trio

from faasd_py.config import FunctionSettings
from faasd_py.config.cron import Schedule, expressions, local_zone
from faasd_py.core.errors import CallerError, QueueError
from faasd_py.gateway.enqueue import Request, UnknownFunction
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.contract import Accepted, Capabilities
from faasd_py.schedule.record import Last, Record
from faasd_py.schedule.timetable import Due, Plan, Timetable

log: Final = logging.getLogger("faasd_py.schedule")
LOOK: Final = 10.0
"""Seconds between two looks at the clock while something is scheduled: it may be set, or the machine may sleep."""
AT_ONCE: Final = 100
"""Functions whose calls are put at the same time."""
HEADERS: Final = b"X-Topic: cron-function\r\nX-Connector: cron-connector\r\n"
"""As the cron-connector sends them (OpenFaaS wire contract §2.8)."""
CATCH_UP: Final = "faasd-py.catch-up"
"""The annotation that stands for the setting `catch_up`."""


class Scheduled(Protocol):
    """One function."""

    @property
    def label(self) -> str:
        """NAME.NAMESPACE."""
        ...

    @property
    def settings(self) -> FunctionSettings:
        """Those in force."""
        ...


class Functions(Protocol):
    """Where functions are (`runtime.registry.Registry` is one)."""

    def functions(self) -> Sequence[Scheduled]:
        """All of them."""
        ...


Accept = Callable[[bytes, Request], Awaitable[Accepted]]


class Scheduler:
    """Calls functions by the clock, from `run` until `stop`.

    Args:
        functions: those that there are.
        accept: puts a call (`gateway.enqueue.Enqueue.accept`).
        capabilities: the queue's.
        record: the last slots on disk.
        metrics: counts what was put, refused and missed.
        clock: seconds since 1970.
        zone: whose time is meant where a schedule does not say.
    """

    def __init__(
        self,
        functions: Functions,
        accept: Accept,
        capabilities: Capabilities,
        record: Record,
        metrics: Metrics,
        *,
        clock: Callable[[], float] = time.time,
        zone: tzinfo | None = None,
    ) -> None:
        self._functions = functions
        self._accept = accept
        self._dedup = capabilities.dedup
        self._record = record
        self._metrics = metrics
        self._clock = clock
        self._zone = zone or local_zone()
        self._table = Timetable()
        self._scope = trio.CancelScope()
        self._nap = trio.CancelScope()
        self._unsaved = False

    def __repr__(self) -> str:
        return f"<Scheduler of {len(self._table)} functions>"

    def next_of(self, label: str) -> float | None:
        """When a function is called next, in seconds since 1970; None: it is not."""
        return self._table.next_of(label)

    def stop(self) -> None:
        """Put no more calls; `run` ends."""
        self._scope.cancel()

    def refresh(self) -> None:
        """Heed what functions there are now, and what they want."""
        wanted = {
            function.label: plan for function in self._functions.functions() if (plan := plan_of(function))
        }
        now = self._clock()
        self._table.drop(wanted)
        for label in self._table.differs(wanted):
            self._begin(label, wanted[label], now)
        self._unsaved |= self._record.keep(wanted)
        self._nap.cancel()

    def _begin(self, label: str, plan: Plan, now: float) -> None:
        try:
            schedule = Schedule(plan.texts, self._zone)
        except ValueError as error:  # settings are checked; a time zone may have gone since
            log.error("function %s is not called by the clock: schedule: %s", label, error)  # noqa: TRY400
            schedule = Schedule(())
        record = self._record
        behind = plan.catch_up and record.knows(label, plan.texts)
        self._table.put(label, plan, schedule, now, record.last(label), behind=behind)
        if plan.catch_up and not behind:
            self._note(label, plan.texts, now)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Put calls as they come due, until `stop`."""
        self.refresh()
        task_status.started()
        with self._scope:
            while True:
                if self._unsaved:
                    await self._save()
                due = self._table.due(self._clock())
                for start in range(0, len(due), AT_ONCE):
                    async with trio.open_nursery() as nursery:
                        for one in due[start : start + AT_ONCE]:
                            nursery.start_soon(self._meet, one)
                if not due:
                    await self._sleep()

    async def _sleep(self) -> None:
        wait = self._table.soonest() - self._clock()
        with trio.CancelScope() as self._nap:
            await trio.sleep(min(max(wait, 0.0), LOOK) if wait < inf else inf)

    async def _meet(self, due: Due) -> None:
        """Put a call for each slot, in order; what cannot be put is told, and the next one goes on."""
        if due.missed:
            self._metrics.scheduled(due.label, "missed")
            log.warning(
                "function %s was not called when it was due: the daemon or the clock was away", due.label
            )
        for slot in due.slots:
            try:
                await self._put(due.label, slot)
            except UnknownFunction:
                return
            except (CallerError, QueueError, OSError) as error:
                self._metrics.scheduled(due.label, "refused")
                log.warning("function %s is not called for %s: %s", due.label, _moment(slot), error)

    async def _put(self, label: str, slot: float) -> None:
        plan = self._table.plan_of(label)
        if plan is None:
            return
        if not self._dedup:
            self._note(label, plan.texts, slot)
            await self._record.save()
        accepted = await self._accept(label.encode(), _request(slot, keyed=self._dedup))
        self._metrics.scheduled(label, "duplicate" if accepted.duplicate else "put")
        if self._dedup and plan.catch_up:
            self._note(label, plan.texts, slot)

    def _note(self, label: str, texts: tuple[str, ...], slot: float) -> None:
        self._record.note(label, Last(slot, texts))
        self._unsaved = True

    async def _save(self) -> None:
        self._unsaved = False
        try:
            await self._record.save()
        except OSError as error:
            log.error("the last slots of schedules are not on record: %s", error)  # noqa: TRY400 - a sentence says it


def plan_of(function: Scheduled) -> Plan | None:
    """What a function wants; None when it has no schedule."""
    settings = function.settings
    texts = expressions(settings.schedule, settings.annotations)
    if not texts:
        return None
    last = "last" in {settings.catch_up, settings.annotations.get(CATCH_UP)}
    return Plan(texts, catch_up=last)


def _request(slot: float, *, keyed: bool) -> Request:
    fields: Mapping[bytes, bytes] = {b"idempotency-key": b"cron-function %d" % int(slot)} if keyed else {}
    return Request(target=b"/", host=b"", headers=HEADERS, fields=fields, body=b"", length=0, source=None)


def _moment(slot: float) -> str:
    return datetime.fromtimestamp(slot, UTC).isoformat().replace("+00:00", "Z")
