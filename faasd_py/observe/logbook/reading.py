"""Read a function's log from its files while it is written: a position goes in, lines and the next position come out.

Nothing is held between two reads, neither a file nor a line, so a reader costs nothing while it waits, however slow it is.
What was removed before it was read is said in a line of its own. All functions here may block: they belong in a thread.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Final

import msgspec

from faasd_py.observe.logbook.line import OWN, Line
from faasd_py.observe.logbook.segments import Segment, segments
from faasd_py.observe.logbook.wanted import Wanted

PIECE: Final = 64 << 10
"""Bytes that are read at once."""
SCAN: Final = 1 << 20
"""Bytes that are looked through in one go for lines that are wanted."""
LONGEST: Final = 1 << 20
"""Bytes without the end of a line that are no line."""


class Position(msgspec.Struct, frozen=True, order=True):
    """Between two lines: `offset` bytes into the segment whose first line is `segment`; `number` is the next line's."""

    segment: int
    offset: int
    number: int


class Page(msgspec.Struct, frozen=True):
    """Lines that are wanted, in their order, and where to go on; `last`: there is no more for now."""

    lines: list[Line]
    position: Position
    last: bool


def is_known(directory: Path) -> bool:
    """Whether there is a log."""
    return bool(segments(directory))


def end(directory: Path) -> Position:
    """Behind the last line that is there now."""
    found = segments(directory)
    if not found:
        return Position(0, 0, 0)
    segment, offset, whole, lines = found[-1], 0, 0, 0
    while piece := _pread(directory, segment, offset, SCAN):
        lines += piece.count(b"\n")
        whole = offset + piece.rfind(b"\n") + 1 if b"\n" in piece else whole
        offset += len(piece)
    return Position(segment.first, whole, segment.first + lines)


def start(directory: Path, wanted: Wanted, until: Position) -> Position:
    """Where to begin, so that no line before `until` that is wanted is left out, nor more than `wanted.tail` are found."""
    found = [segment for segment in segments(directory) if segment.first <= until.segment]
    if not found:
        return Position(0, 0, 0)
    first = max((index for index, segment in enumerate(found) if segment.at <= wanted.since), default=0)
    found = found[first:]
    if not wanted.tail:
        return Position(found[0].first, 0, found[0].first)
    left = wanted.tail
    for segment in reversed(found):
        stop = until.offset if segment.first == until.segment else _size(directory, segment)
        offset, left = _back(directory, segment, stop, wanted, left)
        if not left:
            return Position(segment.first, offset, segment.first + _count(directory, segment, offset))
    return Position(found[0].first, 0, found[0].first)


def read(directory: Path, position: Position, wanted: Wanted, until: Position | None = None) -> Page:
    """The next lines: what PIECE bytes hold, found within SCAN bytes. `until` is where the log ends, else it goes on."""
    scanned = 0
    while scanned < SCAN:
        if until is not None and position >= until:
            break
        found = segments(
            directory
        )  # before the read: what is in a segment behind which there is another is final
        here = next((segment for segment in found if segment.first == position.segment), None)
        newer = next((segment for segment in found if segment.first > position.segment), None)
        if until is not None and newer is not None and newer.first > until.segment:
            newer = None
        stop = until.offset if until is not None and until.segment == position.segment else None
        raw, offset = _lines_at(directory, here, position.offset, stop) if here else ([], 0)
        if raw:
            scanned += offset - position.offset
            position = Position(position.segment, offset, position.number + len(raw))
            if lines := list(wanted.of(raw)):
                return Page(lines, position, last=False)
        elif newer is None:
            break
        else:
            gap = _gap(position.number, newer.first)
            position = Position(newer.first, 0, newer.first)
            if gap:
                return Page(gap, position, last=False)
    return Page([], position, last=scanned < SCAN)


def _gap(number: int, first: int) -> list[Line]:
    if not 0 < number < first:
        return []
    text = f"({first - number} lines are missing: they were removed before they were read)"
    return [Line(time.time_ns(), OWN, "", "", text)]


def _lines_at(directory: Path, segment: Segment, offset: int, stop: int | None) -> tuple[list[bytes], int]:
    """Whole lines from `offset` on, and where they end; none when no whole line is there."""
    data = b""
    while len(data) < LONGEST:
        size = PIECE if stop is None else min(PIECE, stop - offset - len(data))
        piece = _pread(directory, segment, offset + len(data), size)
        if not piece:
            return [], offset
        data += piece
        if b"\n" in piece:
            whole = data.rfind(b"\n") + 1
            return data[: whole - 1].split(b"\n"), offset + whole
    return [b""], offset + len(data)  # damage; it is passed over


def _back(directory: Path, segment: Segment, stop: int, wanted: Wanted, left: int) -> tuple[int, int]:
    """From `stop` back to the line with which `left` that are wanted are found: its offset, and how many are left then."""
    begin, rest = stop, b""
    while begin:
        size = min(PIECE, begin)
        begin -= size
        data = _pread(directory, segment, begin, size) + rest
        at = begin + len(data)
        torn = data.find(b"\n") + 1 if begin else 0
        if begin and not torn:
            rest = data
            continue
        rest = data[:torn]
        for raw in reversed(data[torn:].split(b"\n")[:-1]):
            at -= len(raw) + 1
            left -= any(wanted.of((raw,)))
            if not left:
                return at, 0
    return 0, left


def _count(directory: Path, segment: Segment, offset: int) -> int:
    """Lines that end before the offset."""
    lines = done = 0
    while done < offset and (piece := _pread(directory, segment, done, min(SCAN, offset - done))):
        lines += piece.count(b"\n")
        done += len(piece)
    return lines


def _size(directory: Path, segment: Segment) -> int:
    try:
        return os.stat(directory / segment.name).st_size  # noqa: PTH116
    except FileNotFoundError:
        return 0


def _pread(directory: Path, segment: Segment, offset: int, size: int) -> bytes:
    """Empty at the end, and when the file is gone."""
    try:
        fd = os.open(directory / segment.name, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)
