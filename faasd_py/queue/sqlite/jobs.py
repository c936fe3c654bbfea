"""What the loop asks of the commit thread, and how it waits for the answer."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final

import trio

from faasd_py.core.call import Call, Spooled
from faasd_py.core.lifecycle import Move
from faasd_py.queue.contract import Accepted
from faasd_py.queue.entry import Entry

if TYPE_CHECKING:
    from faasd_py.queue.sqlite.lane import SqliteLane
    from faasd_py.queue.sqlite.store import Store

PUT: Final = 0
START: Final = 1
SETTLE: Final = 2
ASK: Final = 3
STOP: Final = 4


class Job:
    """Done in a transaction by the commit thread, then landed on the loop; a task may wait for it."""

    __slots__ = ("error", "task")
    kind = ASK
    lazy = False
    """It may wait a moment for another commit to ride on."""

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.error: Exception | None = None

    async def wait(self) -> None:
        """Wait until it has landed. Cancelled, it is done all the same.

        Raises:
            FaasdError: it was not done.
        """
        await self.landed()
        if self.error is not None:
            raise self.error

    def landed(self) -> Awaitable[object]:
        """Until it has landed, done or not. A plain function: the fewer coroutines lie above a wait, the better."""
        self.task = trio.lowlevel.current_task()
        return trio.lowlevel.wait_task_rescheduled(self._abort)  # noqa: ASYNC105 - the caller awaits it

    def _abort(self, _raise_cancel: Any) -> trio.lowlevel.Abort:
        self.task = None
        return trio.lowlevel.Abort.SUCCEEDED

    def finish(self) -> None:
        """Wake the task that waits, if there is one. On the loop."""
        task = self.task
        if task is not None:
            self.task = None
            trio.lowlevel.reschedule(task)


class Put(Job):
    """A new call, with its row. `body` goes apart; `spooled` is the caller's file, taken over by the commit."""

    __slots__ = ("body", "call", "due", "duplicate", "entry", "lane", "row", "spooled")
    kind = PUT

    def __init__(self, entry: Entry, lane: SqliteLane, row: tuple[Any, ...], due: float | None) -> None:
        self.task = None
        self.error = None
        self.entry = entry
        self.lane = lane
        self.row = row
        self.due = due
        self.call: Call = entry.call
        self.body: bytes | None = None
        self.spooled: Spooled | None = None
        self.duplicate: Accepted | None = None


class Start(Job):
    """An attempt begins; alone, or one of several for which one task waits."""

    __slots__ = ("entry", "lane", "together")
    kind = START

    def __init__(self, entry: Entry, lane: SqliteLane, together: Together | None = None) -> None:
        self.task = None
        self.error = None
        self.entry = entry
        self.lane = lane
        self.together = together

    def finish(self) -> None:
        """See Job."""
        if self.together is None:
            super().finish()
        else:
            self.together.landed_one()


class Together(Job):
    """What a task waits for that has made several jobs: it is never done itself, and lands with the last of them."""

    __slots__ = ("left",)

    def __init__(self, count: int) -> None:
        super().__init__()
        self.left = count

    def landed_one(self) -> None:
        """One of the jobs has landed."""
        self.left -= 1
        if not self.left:
            self.finish()


class Settle(Job):
    """An attempt ended: `row` is the statement's values, `callback` goes into the queue with it."""

    __slots__ = ("answer", "callback", "due", "entry", "kept", "lane", "move", "row", "was_leased")
    kind = SETTLE
    lazy = True

    def __init__(self, entry: Entry, lane: SqliteLane, move: Move, row: tuple[Any, ...]) -> None:
        self.task = None
        self.error = None
        self.entry = entry
        self.lane = lane
        self.move = move
        self.row = row
        self.due: float | None = None
        self.kept = 0
        self.was_leased = True
        """On record; False for a call that was never started."""
        self.callback: Put | None = None
        self.answer: bytes | None = None
        """An outcome too large for the row."""


class Ask(Job):
    """Anything else: `run` in the transaction, `land` on the loop."""

    __slots__ = ()

    def run(self, store: Store) -> None:
        """In the commit thread, inside the transaction; may run again after a failure."""

    def land(self) -> None:
        """On the loop, after the commit."""

    def fail(self) -> None:
        """On the loop, when it was not done."""


class Stop(Job):
    """The last job: the thread ends after it."""

    __slots__ = ()
    kind = STOP


class Batch:
    """What one transaction holds, in the order in which it is done and landed."""

    __slots__ = ("asks", "kept", "puts", "settles", "starts", "stop", "trouble")

    def __init__(self) -> None:
        self.puts: list[Put] = []
        self.starts: list[Start] = []
        self.settles: list[Settle] = []
        self.asks: list[Ask] = []
        self.stop: Stop | None = None
        self.trouble: str | None = None
        self.kept = 0
        """Bytes of all outcomes on record, after it."""

    def add(self, job: Job) -> None:
        """Sort in a job."""
        kind = job.kind
        if kind == PUT:
            self.puts.append(job)  # type: ignore[arg-type]
        elif kind == SETTLE:
            self.settles.append(job)  # type: ignore[arg-type]
        elif kind == START:
            self.starts.append(job)  # type: ignore[arg-type]
        elif kind == ASK:
            self.asks.append(job)  # type: ignore[arg-type]
        else:
            self.stop = job  # type: ignore[assignment]

    def all(self) -> list[Job]:
        """Every job in it, in order."""
        return [*self.puts, *self.starts, *self.settles, *self.asks]

    def empty(self) -> bool:
        """There is nothing to be done."""
        return not (self.puts or self.starts or self.settles or self.asks)
