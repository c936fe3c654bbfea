"""One task asleep until somebody wakes it: trio's Event without the making of one for each time."""

from __future__ import annotations

from collections.abc import Callable

import trio
from trio.lowlevel import Abort, Task, current_task, reschedule, wait_task_rescheduled


class Nap:
    """Where one task sleeps."""

    __slots__ = ("_task",)

    def __init__(self) -> None:
        self._task: Task | None = None

    async def sleep(self, aborted: Callable[[], None]) -> None:
        """Sleep until `wake`; cancelled before that, call `aborted`. Once woken, it cannot be cancelled any more."""
        self._task = current_task()

        def abort(_: Callable[[], object]) -> trio.lowlevel.Abort:
            self._task = None
            aborted()
            return Abort.SUCCEEDED

        await wait_task_rescheduled(abort)

    def wake(self) -> None:
        """Wake the sleeper; without one nothing happens."""
        task, self._task = self._task, None
        if task is not None:
            reschedule(task)
