"""The one thread that writes: everything that waits when it is free is one transaction, answered in one go.

What the tasks ask for in one turn of the loop is handed over together, just before the loop would wait. An idle thread
commits it at once; a busy one finds what came meanwhile and commits it together. Only a settlement, for which nobody
waits, stays up to LAZY seconds to share the next commit.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final

import apsw
import trio

from faasd_py.core.errors import FaasdError, QueueUnavailable
from faasd_py.queue.sqlite.ballast import Ballast
from faasd_py.queue.sqlite.jobs import SETTLE, Ask, Batch, Job, Put, Settle, Start
from faasd_py.queue.sqlite.store import Store

LAZY: Final = 0.002
PROBE: Final = 0.5
MOST: Final = 1024
"""Jobs in one transaction, nearly."""
STORAGE: Final = (
    apsw.FullError, apsw.IOError, apsw.CantOpenError, apsw.ReadOnlyError, apsw.BusyError, apsw.CorruptError,
    apsw.NotADBError, apsw.NoMemError,
)  # fmt: skip
"""The store's fault, not the call's."""
logger: Final = logging.getLogger("faasd_py.queue")


class Handover(trio.abc.Instrument):
    """Gives what was submitted in this turn of the loop to the thread, all at once."""

    def __init__(self, inbox: SimpleQueue[list[Job]]) -> None:
        self._pending: list[Job] = []
        self._give = inbox.put
        self.submit = self._pending.append

    def before_io_wait(self, timeout: float) -> None:  # noqa: ARG002 - trio's own signature
        """The turn is over."""
        if self._pending:
            self._give(self._pending[:])
            self._pending.clear()


class Committer:
    """Owns the store while it runs. `land` is called on the loop with each batch that is done."""

    def __init__(self, store: Store, ballast: Ballast, damaged: Callable[[str], None]) -> None:
        self._store = store
        self._ballast = ballast
        self._damaged = damaged
        self._inbox: SimpleQueue[list[Job]] = SimpleQueue()
        self._handover = Handover(self._inbox)
        self.submit = self._handover.submit
        self._held: list[Settle] = []
        self._trouble: str | None = None
        self._full = False
        self._beyond = False
        """Only another start can help."""
        self._probed = 0.0
        self._batch = Batch()
        self._thread: threading.Thread | None = None

    def start(self, token: trio.lowlevel.TrioToken, land: Callable[[Batch], None]) -> None:
        """Start the thread."""
        self._token = token
        self._land = land
        trio.lowlevel.add_instrument(self._handover)
        self._thread = threading.Thread(target=self._run, name="faasd-py queue commit", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """After a Stop has landed: nothing is handed over any more. On the loop."""
        trio.lowlevel.remove_instrument(self._handover)

    def close(self) -> None:
        """After a Stop: wait for the end of the thread, close the store. Blocks."""
        if self._thread is not None:
            self._thread.join()
        self._store.close()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            logger.critical("the queue's commit thread ended", exc_info=error)
            self._refuse_for_ever(f"the queue's commit thread ended: {type(error).__name__}: {error}")

    def _serve(self) -> None:
        if not self._ballast.make():
            self._suffer(apsw.FullError("there is no room for the reserve"))
        else:
            self._store.lay_out()
        while True:
            batch = self._batch = self._gather()
            self._do(batch)
            self._reply(batch)
            if batch.stop is not None:
                return

    def _reply(self, batch: Batch) -> None:
        batch.trouble = self._trouble
        batch.kept = self._store.figures.kept
        try:
            self._token.run_sync_soon(self._land, batch)
        except trio.RunFinishedError:
            batch.stop = batch.stop  # the loop is gone: nobody is left to be told

    def _gather(self) -> Batch:
        """Everything that waits now; nothing only while there is something to try again."""
        batch, inbox = Batch(), self._inbox
        try:
            jobs = inbox.get(timeout=PROBE if self._trouble or self._held else None)
            if inbox.empty() and _all_lazy(jobs):
                self._dawdle(jobs)
            while inbox.qsize() and len(jobs) < MOST:
                jobs += inbox.get_nowait()
        except Empty:
            return batch
        for job in jobs:
            batch.add(job)
        return batch

    def _dawdle(self, jobs: list[Job]) -> None:
        """Only settlements are there: wait a moment for something that cannot wait."""
        end = time.monotonic() + LAZY
        with suppress(Empty):
            while (rest := end - time.monotonic()) > 0 and len(jobs) < MOST:
                more = self._inbox.get(timeout=rest)
                jobs += more
                if not _all_lazy(more):
                    return

    def _do(self, batch: Batch) -> None:
        if self._held:
            batch.settles[:0], self._held = self._held, []
        if self._trouble is not None:
            self._refuse(batch.puts)
            batch.puts = [put for put in batch.puts if put.error is None]
            self._recover()
        if not batch.empty():
            self._commit(batch)

    def _commit(self, batch: Batch) -> None:
        try:
            self._transact(batch.puts, batch.starts, batch.settles, batch.asks)
        except STORAGE as error:
            self._without_puts(batch, error)
        except Exception as error:  # noqa: BLE001 - one bad call must not fail the others
            logger.warning("a transaction failed, its calls are tried one by one: %s", error)
            self._one_by_one(batch)

    def _transact(self, puts: list[Put], starts: list[Start], settles: list[Settle], asks: list[Ask]) -> None:
        store = self._store
        with store.transaction():
            if puts:
                store.put(puts)
            if starts:
                store.start(starts)
            if settles:
                store.settle(settles)
            if asks:
                store.ask(asks)

    def _without_puts(self, batch: Batch, error: Exception) -> None:
        """The store is in trouble: refuse what is new, try to get the rest through."""
        self._suffer(error)
        self._refuse(batch.puts)
        try:
            self._transact([], batch.starts, batch.settles, batch.asks)
        except Exception as again:  # noqa: BLE001 - the same trouble or its consequence
            self._suffer(again)
            self._refuse([*batch.starts, *batch.asks])
            self._held, batch.settles = batch.settles, []

    def _one_by_one(self, batch: Batch) -> None:
        for put in batch.puts:
            self._alone(put, puts=[put])
        for start in batch.starts:
            self._alone(start, starts=[start])
        for settle in batch.settles:
            self._alone(settle, settles=[settle])
        for ask in batch.asks:
            self._alone(ask, asks=[ask])
        self._held = [settle for settle in batch.settles if settle.error is not None]
        batch.settles = [settle for settle in batch.settles if settle.error is None]

    def _alone(
        self,
        job: Job,
        puts: list[Put] | None = None,
        starts: list[Start] | None = None,
        settles: list[Settle] | None = None,
        asks: list[Ask] | None = None,
    ) -> None:
        job.error = None
        try:
            self._transact(puts or [], starts or [], settles or [], asks or [])
        except STORAGE as error:
            self._suffer(error)
            self._refuse([job])
        except Exception as error:
            job.error = (
                error if isinstance(error, FaasdError) else QueueUnavailable(f"it cannot be kept: {error}")
            )
            if job.kind == SETTLE:
                logger.critical("the end of a call cannot be recorded; it will run again", exc_info=error)
                job.error = None

    def _refuse(self, jobs: list[Put] | list[Job] | list[Start | Ask]) -> None:
        for job in jobs:
            job.error = QueueUnavailable(self._trouble or "the queue cannot be written")

    def _suffer(self, error: Exception) -> None:
        """Note the trouble; a full disk frees the ballast."""
        text = _sentence(error)
        if self._beyond:
            return
        if self._trouble != text:
            logger.error("%s; no calls are accepted until that is over", text)
        self._trouble = text
        self._probed = time.monotonic()
        if isinstance(error, apsw.FullError):
            self._full = True
            self._ballast.release()
        if isinstance(error, apsw.CorruptError | apsw.NotADBError):
            self._beyond = True
            self._damaged(text)

    def _recover(self) -> None:
        """Look, no more often than every PROBE seconds, whether the trouble is over."""
        if self._beyond or time.monotonic() - self._probed < PROBE:
            return
        self._probed = time.monotonic()
        try:
            if self._full and not self._room():
                return
            self._store.probe()
        except Exception as error:  # noqa: BLE001 - not over yet
            self._suffer(error)
            return
        logger.warning("calls are accepted again")
        self._trouble, self._full = None, False

    def _room(self) -> bool:
        """There is room again: on the disk for the ballast, made by giving free pages back if need be."""
        if self._ballast.make():
            return True
        self._store.shrink()
        return self._ballast.make()

    def _refuse_for_ever(self, text: str) -> None:
        self._trouble = text
        batch = self._batch
        while batch.stop is None:
            self._refuse([*batch.all()])
            batch.settles = []  # nothing follows from what is not on record; those calls run again
            self._reply(batch)
            batch = Batch()
            for job in self._inbox.get():
                batch.add(job)
        self._reply(batch)


def _all_lazy(jobs: list[Job]) -> bool:
    return all(job.lazy for job in jobs)


def _sentence(error: Exception) -> str:
    if isinstance(error, apsw.FullError):
        return "the disk with the queue is full"
    if isinstance(error, apsw.CorruptError | apsw.NotADBError):
        return f"the queue's file is damaged ({error}); restart to salvage it"
    return f"the queue cannot be written: {error}"
