"""One lane: how many of its calls run, and which of its workers looks out for the next one.

At most one worker of a lane, the leader, waits for a READY call; whoever takes a lease makes another the leader before
it runs it. So a call that comes in wakes one worker, and while there is a backlog nobody is woken at all: each worker
goes on with the next call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import trio

from faasd_py.worker.slots import Slots
from faasd_py.worker.window import Window
from faasd_py.worker.work import Work

if TYPE_CHECKING:
    from faasd_py.worker.worker import Worker


def deal(slots: Slots[Worker], woken: list[Worker]) -> None:
    """Tell those who have a slot now."""
    for worker in woken:
        worker.grant(slots)


class Lane:
    """Synchronous: every method decides at once.

    Args:
        name: the queue's name of it.
        work: what its calls are.
        slots: shared with other lanes; `move` exchanges them.
        hire: makes and starts one more worker.
        now: the run's clock, in seconds.
    """

    def __init__(
        self,
        name: str,
        work: Work,
        slots: Slots[Worker],
        hire: Callable[[Lane], Worker],
        now: Callable[[], float] = trio.current_time,
    ) -> None:
        self.name = name
        self.work = work
        self.slots = slots
        self._hire = hire
        self._now = now
        self.window = Window(work.limit())
        self.running = 0
        self.workers: set[Worker] = set()
        self.leader: Worker | None = None
        self.idle: list[Worker] = []
        self.closing = False
        self.quiet_until = 0.0
        """By the run's clock; 0 when it is not paused."""
        self.waiting = False
        """The leader waits for a READY call."""
        self.leases = 0
        self.surplus = 0
        """The fewest idle workers since the last `shrink`."""
        self._stumbles = 0

    def __repr__(self) -> str:
        return f"<Lane {self.name}: {self.running} running, {self.window!r}, {len(self.workers)} workers>"

    def refresh(self) -> None:
        """Heed the limit in force."""
        self.window.resize(self.work.limit())

    def has_room(self) -> bool:
        """One more call may be leased."""
        return self.running < self.window.size and not self.closing and not self.is_quiet()

    def move(self, slots: Slots[Worker]) -> None:
        """From now on the lane's calls take these slots; who runs gives back to the old ones."""
        if slots is self.slots:
            return
        old, self.slots = self.slots, slots
        waiting = old.forget(self.name)
        if waiting is None:
            return
        if slots.take():
            waiting.grant(slots)
        else:
            slots.queue(self.name, waiting)

    def may_go_on(self, held: Slots[Worker]) -> bool:
        """A worker that has just finished may take the next call without giving its slot of these back."""
        self.refresh()
        return (
            self.running <= self.window.size
            and not self.closing
            and not self.is_quiet()
            and held is self.slots
            and not held.contested(self.name)
        )

    def take(self) -> None:
        """A worker that has a slot took a lease."""
        self.running += 1
        self.leases += 1

    def put_down(self, held: Slots[Worker]) -> None:
        """A worker has finished and gives its slot of these back."""
        self.running -= 1
        deal(held, held.give())

    def promote(self) -> None:
        """Make somebody the leader, if one is wanted."""
        if self.closing or self.leader is not None or self.running >= self.window.size:
            return
        if self.idle:
            self.leader = self.idle.pop()
            self.surplus = min(self.surplus, len(self.idle))
            self.leader.parker.unpark()
        else:
            self.leader = self._hire(self)
            self.surplus = 0

    def pause(self, seconds: float) -> None:
        """Take no lease for so long."""
        self.quiet_until = max(self.quiet_until, self._now() + seconds)

    def is_quiet(self) -> bool:
        """It is paused."""
        if self.quiet_until and self.quiet_until <= self._now():
            self.quiet_until = 0.0
        return self.quiet_until != 0.0

    def stumble(self) -> float:
        """Something failed that is no call's fault: pause, longer each time in a row. The seconds."""
        wait = min(0.1 * 2.0**self._stumbles, 30.0)
        self._stumbles = min(self._stumbles + 1, 12)
        self.pause(wait)
        return wait

    def steady(self) -> None:
        """A call was settled: the next failure is the first again."""
        self._stumbles = 0

    def close(self) -> None:
        """Take no more leases; workers leave when they have finished."""
        self.closing = True
        for worker in list(self.workers):
            worker.dismiss()

    def reopen(self) -> None:
        """Take leases again; workers that were sent away still leave, others come in their place."""
        self.closing = False
        self.promote()

    def shrink(self) -> None:
        """Send away the workers that were idle since the last time."""
        for worker in self.idle[: self.surplus]:
            worker.dismiss()
        self.surplus = len(self.idle)
