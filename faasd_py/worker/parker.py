"""One task parked until somebody unparks it: a `trio.lowlevel.ParkingLot` with one place, made once for many times."""

from __future__ import annotations

from collections.abc import Callable

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled


class Parker:
    """The place where one task is parked."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Task | None = None

    async def park(self, aborted: Callable[[], None]) -> None:
        """Wait for `unpark`; cancelled before that, call `aborted`. Once unparked, it cannot be cancelled any more."""
        self._task = current_task()

        def abort(_: Callable[[], object]) -> trio.lowlevel.Abort:
            self._task = None
            aborted()
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def unpark(self) -> None:
        """Let the parked task go on; without one nothing happens."""
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)
