"""Tasks that wait for one answer each.

Waiting is given up without loss and without trace: an answer that comes later finds nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

import outcome
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

T = TypeVar("T")


class Waiters(Generic[T]):
    """At most one task a key."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[str, Task] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    async def wait(self, key: str) -> T:
        """The answer, or the error, that somebody gives for this key."""
        tasks = self._tasks

        def abort(_: RaiseCancelT) -> Abort:
            del tasks[key]
            return Abort.SUCCEEDED

        tasks[key] = current_task()
        answer: T = await wait_task_rescheduled(abort)
        return answer

    def answer(self, key: str, value: T) -> None:
        """Wake the one who waits for it, if there is one."""
        task = self._tasks.pop(key, None)
        if task is not None:
            reschedule(task, outcome.Value(value))

    def fail(self, key: str, error: Exception) -> None:
        """As above, with an error."""
        task = self._tasks.pop(key, None)
        if task is not None:
            reschedule(task, outcome.Error(error))

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Everybody gets an error of his own."""
        for key in list(self._tasks):
            self.fail(key, error())


