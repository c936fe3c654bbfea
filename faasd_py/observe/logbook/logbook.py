"""The logbook of one daemon: lines go in from the loop, and come out again for whoever reads along."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, TypeVar, TypeVarTuple

import msgspec
import trio

from faasd_py.observe.logbook import reading
from faasd_py.observe.logbook.bells import Bells
from faasd_py.observe.logbook.line import Line
from faasd_py.observe.logbook.reading import Page, Position
from faasd_py.observe.logbook.segments import directory_name
from faasd_py.observe.logbook.wanted import Wanted
from faasd_py.observe.logbook.words import Figures, LogsWords
from faasd_py.observe.logbook.writer import Writer

READERS: Final = 8
"""Threads that may read at once."""
FLUSH: Final = 5.0
"""Seconds that a reader waits for lines that are on their way to the disk."""
_Found = TypeVar("_Found")
_Given = TypeVarTuple("_Given")


class Logbook:
    """`open_logbook` makes it."""

    def __init__(self, directory: Path, words: LogsWords) -> None:
        self._directory = directory
        self._token = trio.lowlevel.current_trio_token()
        self._writer = Writer(directory, words, self._written)
        self._bells = Bells()
        self._readers = trio.CapacityLimiter(READERS)
        self._ending = False
        self.followers = 0
        """Who reads along now."""
        self.words = words
        self._put = self._writer.inbox.put

    @property
    def figures(self) -> Figures:
        """What was written and lost."""
        return self._writer.figures

    def start(self) -> None:
        """From now on lines are written."""
        self._writer.start()

    def close(self) -> None:
        """Write what waits; blocks for some seconds at most."""
        self._writer.close()

    def reconfigure(self, words: LogsWords) -> None:
        """In force for the next line."""
        self.words = self._writer.words = words

    def line(self, label: str, text: str, stream: str, instance: str, call_id: str) -> None:
        """Keep one line of the function; never blocks, never raises."""
        if self.words.enabled:
            self._put(label, stream, instance, call_id, text)

    def end_follows(self) -> None:
        """The daemon stops: whoever follows has his last line."""
        self._ending = True
        self._bells.ring_all()

    async def is_known(self, label: str) -> bool:
        """Whether there are lines of this function."""
        await self._flush()
        return await self._in_thread(reading.is_known, self._of(label))

    async def pages(self, label: str, wanted: Wanted, *, follow: bool) -> AsyncGenerator[list[Line], None]:
        """The lines that are there now, then with `follow` those to come, until the daemon stops. Close what you get.

        Every line once and in its order. What was removed before it could be read is said in a line of its own.

        Raises:
            OSError: the log cannot be read.
        """
        await self._flush()
        until = await self._in_thread(reading.end, self._of(label))
        begin = await self._in_thread(reading.start, self._of(label), wanted, until)
        stretches: list[tuple[Position | None, Wanted]] = [(until, wanted)]
        if follow:  # a clock that is set back must not hide the lines to come
            stretches.append((None, msgspec.structs.replace(wanted, since=0)))
        return self._pages(label, begin, stretches)

    async def _pages(
        self, label: str, position: Position, stretches: Sequence[tuple[Position | None, Wanted]]
    ) -> AsyncGenerator[list[Line], None]:
        follow = len(stretches) > 1
        self.followers += follow
        try:
            for until, wanted in stretches:
                page = await self._page(label, position, wanted, until)
                while not page.last:
                    if page.lines:
                        yield page.lines
                    page = await self._page(label, page.position, wanted, until)
                position = page.position
        finally:
            self.followers -= follow

    async def _page(self, label: str, position: Position, wanted: Wanted, until: Position | None) -> Page:
        """The next page. Without `until` it is waited for, and the last one comes when the daemon stops."""
        with self._bells.listen(label) as bell:
            while True:
                bell.renew()
                page = await self._in_thread(reading.read, self._of(label), position, wanted, until)
                if until is not None or self._ending or not page.last:
                    return page
                position = page.position
                await bell.wait()

    async def _in_thread(self, work: Callable[[*_Given], _Found], *given: *_Given) -> _Found:
        """What blocks, beside the loop; readers of logs take no more than their share of the threads."""
        return await trio.to_thread.run_sync(work, *given, limiter=self._readers)

    def _of(self, label: str) -> Path:
        return self._directory / directory_name(label)

    async def _flush(self) -> None:
        """What was put is written, unless that takes too long."""
        done = trio.Event()
        self._writer.inbox.mark(done.set)
        with trio.move_on_after(FLUSH):
            await done.wait()

    def _written(self, labels: list[str], calls: list[Callable[[], object]]) -> None:
        """In the writing thread."""
        labels = [label for label in labels if label in self._bells]
        if labels or calls:
            try:
                self._token.run_sync_soon(self._tell, labels, calls)
            except trio.RunFinishedError:
                return

    def _tell(self, labels: list[str], calls: list[Callable[[], object]]) -> None:
        self._bells.ring(labels)
        for call in calls:
            call()


@asynccontextmanager
async def open_logbook(directory: Path, words: LogsWords) -> AsyncIterator[Logbook]:
    """A logbook that writes below `directory` until the block ends; then what waits is written."""
    book = Logbook(directory, words)
    book.start()
    try:
        yield book
    finally:
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(book.close)
