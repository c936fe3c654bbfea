"""Messages that were published and are not confirmed yet, oldest first: bounded, each with a deadline."""

from __future__ import annotations

from collections.abc import Callable

import trio
from outcome import Error, Value
from trio.lowlevel import Abort, RaiseCancelT, Task, current_task, reschedule, wait_task_rescheduled

from faasd_py_nats_streaming.errors import StanError, Unconfirmed


class Pub:
    """One of them. `ended` is called once, also when nobody waits any more; `waited` says whether somebody does."""

    __slots__ = ("_task", "deadline", "done", "ended", "error", "token")

    def __init__(self, token: str, deadline: float, ended: Callable[[Pub], None] | None) -> None:
        self.token = token
        self.deadline = deadline
        self.ended = ended
        self.done = False
        self.error: StanError | None = None
        self._task: Task | None = None

    @property
    def waited(self) -> bool:
        """Somebody will be told."""
        return self._task is not None

    async def wait(self) -> None:
        """Until the server has confirmed it. Cancelled, it goes on by itself.

        Raises:
            StanError: why it is not confirmed.
        """
        if self.done:
            await trio.lowlevel.checkpoint()
            if self.error is not None:
                raise self.error
            return

        def abort(_: RaiseCancelT) -> Abort:
            self._task = None
            return Abort.SUCCEEDED

        self._task = current_task()
        await wait_task_rescheduled(abort)

    def end(self, error: StanError | None) -> None:
        """The server confirmed it, or not."""
        self.done, self.error = True, error
        if self.ended is not None:
            self.ended(self)
        if self._task is not None:
            reschedule(self._task, Value(None) if error is None else Error(error))


class Pubs:
    """At most `limit` are under way at once; each has `timeout` seconds."""

    def __init__(self, limit: int, timeout: float) -> None:
        self._limit = limit
        self._timeout = timeout
        self._open: dict[str, Pub] = {}
        self._rooms = trio.lowlevel.ParkingLot()
        self._empty = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._open)

    async def room(self) -> None:
        """Until one more may be under way. No checkpoint if it may."""
        while len(self._open) >= self._limit:
            await self._rooms.park()

    async def empty(self) -> None:
        """Until none is under way."""
        while self._open:
            await self._empty.park()

    def open(self, token: str, ended: Callable[[Pub], None] | None) -> Pub:
        """One more is under way."""
        pub = self._open[token] = Pub(token, trio.current_time() + self._timeout, ended)
        return pub

    def end(self, token: str, error: StanError | None) -> None:
        """One has ended; nothing happens when it had before."""
        pub = self._open.pop(token, None)
        if pub is not None:
            pub.end(error)
            if self._rooms:
                self._rooms.unpark()
            if not self._open:
                self._empty.unpark_all()

    def expire(self, now: float) -> None:
        """Those whose time is over are unconfirmed. They are in the order of their deadlines."""
        while self._open and (first := next(iter(self._open.values()))).deadline <= now:
            self.end(first.token, Unconfirmed(f"the server did not confirm within {self._timeout:g} s"))

    def fail_all(self, error: Callable[[], StanError]) -> None:
        """All end so."""
        for token in list(self._open):
            self.end(token, error())
