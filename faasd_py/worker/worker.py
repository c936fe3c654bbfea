"""One worker: a task that takes a lane's calls one after the other, as long as there are any.

It waits and works within one cancel scope, made anew only after it was cancelled. Whoever cancels it does so while it
waits or while the attempt runs, never while the queue is told something; so no lease and no settlement is lost.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from faasd_py.core.call import Lease
from faasd_py.core.errors import IllegalMove, QueueUnavailable
from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import CANCEL, RELEASE, Outcome, Verdict
from faasd_py.queue.contract import Queue
from faasd_py.worker.lane import Lane, deal
from faasd_py.worker.parker import Parker
from faasd_py.worker.run import TIMEOUT, Run
from faasd_py.worker.slots import Slots

HAND_BACKS: Final = 5
log: Final = logging.getLogger("faasd_py.worker")


class Worker:
    """A worker of one lane.

    Args:
        lane: whom it works for.
        queue: where the calls are.
        running: every run of the house, for those who stop them.
        clock: seconds since 1970.
        left: told when it has ended.
    """

    def __init__(
        self,
        lane: Lane,
        queue: Queue,
        running: set[Run],
        clock: Callable[[], float],
        left: Callable[[Lane], None],
    ) -> None:
        self.parker = Parker()
        self._lane = lane
        self._queue = queue
        self._running = running
        self._clock = clock
        self._left = left
        self._scope = trio.CancelScope()
        self._run: Run | None = None
        self._held: Slots[Worker] | None = None
        """Where the slot that it holds is from."""
        self._dismissed = False
        self._misses = 0

    def __repr__(self) -> str:
        return f"<Worker of {self._lane.name}: {self._run!r}>"

    def dismiss(self) -> None:
        """Stop waiting and leave; what it runs is finished first."""
        self._dismissed = True
        if self._run is None:
            self._scope.cancel()

    def grant(self, slots: Slots[Worker]) -> None:
        """It waited for a slot of these, and has one now."""
        self._held = slots
        self.parker.unpark()

    async def run(self) -> None:
        """Work until dismissed."""
        try:
            while not self._dismissed:
                await self._work_on()
        finally:
            self._lane.workers.discard(self)
            if self._lane.leader is self:
                self._lane.leader = None
            self._left(self._lane)
        self._lane.promote()  # a lane that was closed and opened again, while this worker was on its way out

    async def _work_on(self) -> None:
        """Until something cancels or fails: a lane's failure is its own."""
        try:
            with trio.CancelScope() as self._scope:
                await self._serve()
            if self._run is not None:
                await self._finish(self._run)
            self._put_down()
        except Exception:
            wait = self._lane.stumble()
            log.exception("lane %s failed; it goes on in %.1f s", self._lane.name, wait)
            await self._recover()

    async def _serve(self) -> None:
        while (lease := self._go_on() or await self._next()) is not None:
            run = self._run = Run(lease, self._scope, self._lane.window.epoch)
            self._running.add(run)
            if await self._begin(run):
                run.outcome = await self._lane.work.attempt(run)
            if self._scope.cancel_called:
                return
            await self._finish(run)

    def _go_on(self) -> Lease | None:
        """After a call: the next one, if this worker may keep its slot."""
        if self._held is None:
            return None
        lane = self._lane
        if lane.may_go_on(self._held) and not self._dismissed:
            lease = self._queue.lease_nowait(lane.name)
            if lease is not None:
                lane.leases += 1
                lane.promote()
                return lease
        self._put_down()
        return None

    def _put_down(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._lane.put_down(held)

    async def _next(self) -> Lease | None:
        """The next call, waited for as leader; None when dismissed."""
        lane = self._lane
        while not self._dismissed:
            if lane.leader is not self:
                if lane.leader is not None or lane.running >= lane.window.size:
                    lane.idle.append(self)
                    await self.parker.park(self._leave_idle)
                    continue
                lane.leader = self
            try:
                lease = await self._lead()
            finally:
                lane.waiting = False
                lane.leader = None
            if lease is not None:
                lane.promote()
                return lease
        return None

    def _leave_idle(self) -> None:
        self._lane.idle.remove(self)

    async def _lead(self) -> Lease | None:
        """Wait for a READY call, then for a slot; then take the call. None: look again."""
        lane = self._lane
        if lane.is_quiet():
            await trio.sleep_until(lane.quiet_until)
            return None
        lane.waiting = True
        await self._queue.wait_ready(lane.name)
        lane.waiting = False
        slots = lane.slots
        if slots.take():
            self._held = slots
        else:
            slots.queue(lane.name, self)
            await self.parker.park(self._leave_queue)
        lease = self._lease()
        if lease is None and not self._dismissed and lane.has_room():
            self._misses = min(self._misses + 1, 8)
            await trio.sleep(0.0005 * 2.0**self._misses)
        return lease

    def _leave_queue(self) -> None:
        self._lane.slots.forget(self._lane.name)

    def _lease(self) -> Lease | None:
        """With a slot in hand: take the call, or give the slot back."""
        lane, lease = self._lane, None
        lane.refresh()
        try:
            if lane.has_room() and not self._dismissed:
                lease = self._queue.lease_nowait(lane.name)
        finally:
            if lease is None:
                self._give_back()
        if lease is not None:
            lane.take()
            self._misses = 0
        return lease

    def _give_back(self) -> None:
        """The slot that was in hand in vain."""
        held, self._held = self._held, None
        if held is not None:
            deal(held, held.give())

    async def _begin(self, run: Run) -> bool:
        """Have it on record that the attempt begins; False when it must not be made."""
        lease, now = run.lease, self._clock()
        run.verdict = self._lane.work.forbid(lease, now)
        if run.verdict is not None:
            run.outcome = self._lane.work.without_answer(run, run.verdict)
            await trio.lowlevel.checkpoint()
            return False
        try:
            await self._queue.start(lease)
        except QueueUnavailable as error:
            run.verdict = RELEASE
            log.warning("lane %s waits: %s", self._lane.name, error)
            self._lane.pause(max(error.retry_after, self._lane.stumble()))
            return False
        run.started_at = now
        return run.cut is None

    async def _finish(self, run: Run) -> None:
        """Say what becomes of the call. Nobody can stop it any more."""
        self._running.discard(run)
        lane, outcome = self._lane, run.outcome
        verdict, outcome = self._decide(run, outcome)
        await lane.work.settle(run, verdict, outcome)
        if verdict.move is Move.RELEASE and lane.work.ordered:
            await self._see_it_back()
        self._run = None
        if outcome is not None and run.started_at:
            lane.steady()
            if outcome.status < 400:
                lane.window.widen()
            elif outcome.status == 429 and outcome.internal is None:
                lane.window.narrow(run.epoch)

    def _decide(self, run: Run, outcome: Outcome | None) -> tuple[Verdict, Outcome | None]:
        if run.cut is CANCEL:
            return CANCEL, None
        if run.verdict is not None:
            return run.verdict, outcome
        if outcome is None and run.cut is not TIMEOUT:
            return run.cut or RELEASE, None
        if outcome is None:
            outcome = self._lane.work.without_answer(run, None)
        verdict = self._lane.work.judge(run, outcome, self._clock())
        if verdict.move is Move.RETRY and self._lane.work.ordered:
            return self._keep_place(verdict), outcome
        return verdict, outcome

    def _keep_place(self, verdict: Verdict) -> Verdict:
        """In an ordered lane the call stays READY at its place, and the lane waits in its stead."""
        self._lane.pause(verdict.wait)
        return Verdict(move=Move.RELEASE, reason=verdict.reason)

    async def _see_it_back(self) -> None:
        """Until the queue has the call at its place again, the next one would overtake it."""
        while not self._lane.closing:
            try:
                await self._queue.flush()
            except QueueUnavailable as error:
                log.warning("lane %s waits: %s", self._lane.name, error)
                await trio.sleep(min(error.retry_after, 1.0))
            else:
                return

    async def _recover(self) -> None:
        """After a failure of ours: hand the lease back, if it was not settled, and give up the slot."""
        run, self._run = self._run, None
        self._put_down()
        if run is not None:
            self._running.discard(run)
            await self._hand_back(run.lease)

    async def _hand_back(self, lease: Lease) -> None:
        """RELEASE, tried a few times; in vain, the call is left as a crash would leave it."""
        for attempt in range(HAND_BACKS):
            try:
                await self._queue.settle(lease, RELEASE)
            except IllegalMove:
                return
            except Exception:
                log.exception("call %s could not be handed back", lease.id)
                await trio.sleep(0.1 * 2.0**attempt)
            else:
                return
