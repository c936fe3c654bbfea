"""The thread that writes: it takes whatever waits, groups it by function, and keeps all of it within its bounds."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from faasd_py.observe.log import hide
from faasd_py.observe.logbook.inbox import Entry, Inbox, Mark
from faasd_py.observe.logbook.library import Library
from faasd_py.observe.logbook.line import OWN, Line, bounded, encode
from faasd_py.observe.logbook.words import Figures, LogsWords

GATHER: Final = 0.025
"""Seconds that lines may wait for company when one has just been written."""
UPKEEP: Final = 60.0
"""Seconds between two looks for what is too old."""
RESERVE: Final = 64 << 20
"""Bytes of the disk that are left to the queue; of a small one a 64th."""
LARGEST: Final = 4 << 20
"""Bytes of the largest segment; of a small log an eighth."""
CLOSING: Final = 5.0
"""Seconds that the end waits for the disk."""
QUIET: Final = 60.0
"""Seconds between two warnings of a disk that is full now and then."""
Missing = tuple[int, str]
"""How many lines, and why."""
Told = Callable[[list[str], list[Callable[[], object]]], None]
_log: Final = logging.getLogger("faasd_py.logs")


class Writer:
    """Started by `start`; `on_written` is called in its thread with the labels that have new lines, and with marks."""

    def __init__(self, directory: Path, words: LogsWords, on_written: Told) -> None:
        self.words = words
        self.inbox = Inbox()
        self.figures = Figures()
        self._directory = directory
        self._on_written = on_written
        self._library = Library(directory)
        self._missing: dict[str, Missing] = {}
        """What is not there and not yet said, by label."""
        self._trouble = ""
        self._warn_at = 0.0
        self._thread = threading.Thread(target=self._run, name="logbook", daemon=True)

    def start(self) -> None:
        """Once."""
        self._thread.start()

    def close(self) -> None:
        """Write what waits and end; a disk that hangs is not waited for longer than CLOSING seconds."""
        self.inbox.close()
        self._thread.join(CLOSING)

    def _run(self) -> None:
        self._library.load()
        self._tidy()
        tidied = time.monotonic()
        while (batch := self.inbox.take(GATHER, UPKEEP)) is not None:
            self._try(batch)
            if time.monotonic() - tidied > UPKEEP:
                self._tidy()
                tidied = time.monotonic()
        self._library.close()

    def _try(self, batch: list[Entry | Mark]) -> None:
        """Whatever goes wrong with some lines must not end the thread."""
        try:
            self._write(batch)
        except Exception:  # noqa: BLE001  # it is logged in full
            self.figures.disk += sum(not isinstance(entry, Mark) for entry in batch)
            if time.monotonic() >= self._warn_at:
                _log.exception("lines of functions are lost: a bug")
                self._warn_at = time.monotonic() + QUIET

    def _write(self, batch: list[Entry | Mark]) -> None:
        by_label: dict[str, list[Entry]] = {}
        marks = []
        for entry in batch:
            if isinstance(entry, Mark):
                marks.append(entry.call)
            else:
                by_label.setdefault(entry[0], []).append(entry)
        for label, entries in by_label.items():
            self._write_function(label, [encode(_line(entry)) for entry in entries])
        for label, count in self.inbox.take_dropped().items():
            self.figures.overload += count
            self._miss(label, count, "they came faster than they could be written")
            self._write_function(label, [])
        self.figures.bytes = self._library.occupied
        self._on_written(list(by_label), marks)

    def _write_function(self, label: str, records: list[bytes]) -> None:
        missing = self._missing.pop(label, None)
        if missing is not None:
            records.insert(0, _own(f"({missing[0]} lines are missing: {missing[1]})"))
        written = 0
        try:
            self._check_space()
            for piece in _pieces(records, self._largest()):
                written += self._append(label, piece)
        except OSError as error:
            self._fail(label, len(records) - written, None if written else missing, error)
        else:
            self._recover()
        self.figures.lines += written

    def _append(self, label: str, records: list[bytes]) -> int:
        words, now = self.words, time.time_ns()
        self._library.make_room(label, sum(map(len, records)), words.per_function, words.total)
        oldest = now - int(words.retention * 1e9) // 8
        return self._library.append(label, records, now, self._largest(), oldest)

    def _largest(self) -> int:
        return min(LARGEST, self.words.per_function // 8)

    def _check_space(self) -> None:
        """The queue shares the disk, and a call is worth more than a line."""
        try:
            found = os.statvfs(self._directory)
        except FileNotFoundError:  # somebody has removed it under us
            self._directory.mkdir(mode=0o700, parents=True)
            found = os.statvfs(self._directory)
        free, whole = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
        if free < min(RESERVE, whole // 64):
            raise OSError("the disk is almost full")

    def _fail(self, label: str, lost: int, unsaid: Missing | None, error: OSError) -> None:
        """`unsaid` are those that were to be told of by one of the lost lines."""
        if unsaid is not None:
            lost += unsaid[0] - 1
        self.figures.disk += lost - (unsaid[0] if unsaid else 0)
        sentence = _reason(error)
        self._miss(label, lost, sentence)
        if not self._trouble and time.monotonic() >= self._warn_at:
            _log.warning("lines of functions are lost: %s: %s", self._directory, sentence)
            self._warn_at = time.monotonic() + QUIET
        self._trouble = sentence

    def _miss(self, label: str, count: int, reason: str) -> None:
        before = self._missing.get(label)
        self._missing[label] = (count + (before[0] if before else 0), reason)

    def _recover(self) -> None:
        if self._trouble:
            _log.info("lines of functions are kept again")
            self._trouble = ""

    def _tidy(self) -> None:
        words = self.words
        self._library.expire(time.time_ns() - int(words.retention * 1e9))
        self._library.shrink(words.per_function, words.total)
        self.figures.bytes = self._library.occupied


def _line(entry: Entry) -> Line:
    _, at, stream, instance, call_id, text = entry
    return Line(at, stream, instance, call_id, hide(bounded(text)))


def _own(text: str) -> bytes:
    return encode(Line(time.time_ns(), OWN, "", "", text))


def _pieces(records: Iterable[bytes], most: int) -> Iterator[list[bytes]]:
    """In pieces of `most` bytes; a longer record is one by itself."""
    piece: list[bytes] = []
    size = 0
    for record in records:
        if piece and size + len(record) > most:
            yield piece
            piece, size = [], 0
        piece.append(record)
        size += len(record)
    if piece:
        yield piece


def _reason(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
