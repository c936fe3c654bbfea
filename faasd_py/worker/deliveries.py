"""The callbacks to one receiver: delivered by the messenger, tried again by `[callback] schedule`."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Final, Protocol

import msgspec
import trio

from faasd_py.callback.messenger import CALLBACK
from faasd_py.config import CallbackSettings
from faasd_py.core.call import Call, Lease
from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import Outcome, Verdict
from faasd_py.observe.events import Events
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.contract import Queue
from faasd_py.worker import verdict as verdicts
from faasd_py.worker.run import Run

log: Final = logging.getLogger("faasd_py.worker")


class Delivers(Protocol):
    """Who delivers (`callback.messenger.Messenger` is one)."""

    async def deliver(self, call: Call, id: str) -> Outcome:  # noqa: A002 - the field's own word
        """Once."""
        ...

    def tidy(self) -> None:
        """Close what nobody used lately."""
        ...

    def close(self) -> None:
        """Close what is idle."""
        ...


class DeliveryContext(msgspec.Struct, kw_only=True):
    """What the lanes of all receivers share; settings are replaced in place when they change."""

    queue: Queue
    messenger: Delivers
    metrics: Metrics
    events: Events
    settings: CallbackSettings
    roll: Callable[[], float] = random.random


class Deliveries:
    """A `Work`: the callbacks of one receiver."""

    ordered = False

    def __init__(self, lane: str, context: DeliveryContext) -> None:
        self.lane = lane
        self._context = context

    def limit(self) -> int:
        """See Work."""
        return self._context.settings.max_inflight

    def forbid(self, lease: Lease, now: float) -> Verdict | None:  # noqa: ARG002 - Work's shape
        """See Work: a callback does not expire, and a crash is no reason not to send it again."""
        if lease.attempt > len(self._context.settings.schedule) + 1:
            return Verdict(move=Move.BURY, reason=verdicts.CALLBACK)
        return None

    async def attempt(self, run: Run) -> Outcome:
        """See Work."""
        run.begun = trio.current_time()
        run.invoking = True
        try:
            return await self._context.messenger.deliver(run.lease.call, run.lease.id)
        except Exception:
            log.exception("callback %s failed", run.lease.id)
            return self.without_answer(run, None)
        finally:
            run.invoking = False

    def without_answer(self, run: Run, verdict: Verdict | None) -> Outcome:  # noqa: ARG002 - Work's shape
        """See Work."""
        return Outcome(status=502, internal=CALLBACK, started_at=run.started_at)

    def judge(self, run: Run, outcome: Outcome, now: float) -> Verdict:
        """See Work."""
        context = self._context
        return verdicts.judge_delivery(
            context.settings.schedule, run.lease.attempt, outcome, now, context.roll()
        )

    async def settle(self, run: Run, verdict: Verdict, outcome: Outcome | None) -> None:
        """See Work."""
        context, lease = self._context, run.lease
        await context.queue.settle(lease, verdict, outcome, None)
        if verdict.move is not Move.RETRY and verdict.move is not Move.RELEASE:
            context.metrics.flow.over(self.lane)
        word = _WORDS.get(verdict.move)
        if word is None:
            return
        context.metrics.callback(word)
        if verdict.move is Move.BURY:
            why = outcome.body.decode() if outcome is not None and isinstance(outcome.body, bytes) else ""
            log.warning("callback %s to %s is dead: %s %s", lease.id, self.lane, verdict.reason, why)
        if context.events.heard:
            context.events.emit(
                _EVENTS[word],
                id=lease.id,
                origin=lease.call.origin,
                function=self.lane,
                attempt=lease.attempt,
                status=None if outcome is None else outcome.status,
                reason=verdict.reason,
            )


_WORDS: Final = {Move.DONE: "delivered", Move.RETRY: "retry", Move.BURY: "dead"}
_EVENTS: Final = {word: f"callback.{word}" for word in _WORDS.values()}
