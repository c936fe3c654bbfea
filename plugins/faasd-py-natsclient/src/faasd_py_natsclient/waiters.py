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
    """At most one task a key; what it waits `about` need not be its own."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[str, tuple[Task, str]] = {}

    def __len__(self) -> int:
        return len(self._tasks)

    async def wait(self, key: str, about: str = "") -> T:
        """The answer, or the error, that somebody gives for this key."""
        tasks = self._tasks

        def abort(_: RaiseCancelT) -> Abort:
            del tasks[key]
            return Abort.SUCCEEDED

        tasks[key] = current_task(), about
        answer: T = await wait_task_rescheduled(abort)
        return answer

    def answer(self, key: str, value: T) -> None:
        """Wake the one who waits for it, if there is one."""
        waiting = self._tasks.pop(key, None)
        if waiting is not None:
            reschedule(waiting[0], outcome.Value(value))

    def fail_about(self, about: str, error: Callable[[], Exception]) -> None:
        """Everybody who waits about this gets an error of his own."""
        for key in [key for key, waiting in self._tasks.items() if waiting[1] == about]:
            reschedule(self._tasks.pop(key)[0], outcome.Error(error()))

    def fail_all(self, error: Callable[[], Exception]) -> None:
        """Everybody gets an error of his own."""
        tasks = self._tasks.copy()
        self._tasks.clear()
        for task, _ in tasks.values():
            reschedule(task, outcome.Error(error()))
