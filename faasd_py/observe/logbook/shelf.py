"""One function's log on disk, as the writing thread sees it: what is there, and how more is put at its end."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from faasd_py.observe.logbook.segments import Segment, segments

BLOCK: Final = 4096
"""What the smallest file occupies."""
_PIECE: Final = 64 << 10


def blocks(size: int) -> int:
    """Bytes that a file of this size occupies."""
    return -(-size // BLOCK) * BLOCK


class Shelf:
    """Segments, oldest first; the last one grows while it is `open`. Used by one thread; errors of the disk are OSErrors."""

    __slots__ = ("_fd", "_sizes", "directory", "last_at", "next", "occupied", "segments", "size")

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.segments = segments(directory)
        self._sizes = [self._measure(segment) for segment in self.segments]
        self.size = sum(self._sizes)
        """Bytes of all segments."""
        self.occupied = sum(map(blocks, self._sizes))
        """Bytes of all segments on disk, in whole blocks."""
        self.next = 1
        """The number of the next line."""
        self.last_at = 0
        """When the last line was written, in nanoseconds since 1970."""
        self._fd = -1
        if self.segments:
            self._look_at_the_end()

    def __repr__(self) -> str:
        return f"<Shelf {self.directory.name}: {len(self.segments)} segments, {self.size} bytes>"

    @property
    def open(self) -> bool:
        """A file is open."""
        return self._fd >= 0

    def append(self, records: Sequence[bytes], now: int, largest: int, oldest: int) -> int:
        """Write these lines, each with its end; how many were written before the disk took no more.

        A new segment is begun when the last one would grow over `largest` bytes or was begun before `oldest`; times are
        in nanoseconds since 1970.

        Raises:
            OSError: none were written.
        """
        data = b"".join(records)
        if self._is_gone():
            self._forget()
        if self._must_turn(len(data), largest, oldest):
            self._begin(now)
        elif self._fd < 0:
            self._fd = os.open(self._path(self.segments[-1]), os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        written = self._write(data)
        count = len(records) if written == len(data) else data.count(b"\n", 0, written)
        self._grow(written)
        self.next += count
        self.last_at = now
        return count

    def drop_oldest(self) -> int:
        """Remove the oldest segment; how many blocks' bytes are free again."""
        segment, size = self.segments.pop(0), self._sizes.pop(0)
        self.size -= size
        self.occupied -= blocks(size)
        if not self.segments:
            self.close()
        self._path(segment).unlink(missing_ok=True)
        if not self.segments:
            with contextlib.suppress(OSError):  # something of somebody else's is in it
                self.directory.rmdir()
        return blocks(size)

    def ended_at(self) -> int:
        """When the oldest segment was last written to."""
        return self.segments[1].at if len(self.segments) > 1 else self.last_at

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _path(self, segment: Segment) -> Path:
        return self.directory / segment.name

    def _measure(self, segment: Segment) -> int:
        return self._path(segment).stat().st_size

    def _must_turn(self, more: int, largest: int, oldest: int) -> bool:
        if not self.segments:
            return True
        return (self._sizes[-1] > 0 and self._sizes[-1] + more > largest) or self.segments[-1].at < oldest

    def _grow(self, more: int) -> None:
        size = self._sizes[-1] + more
        self.occupied += blocks(size) - blocks(self._sizes[-1])
        self._sizes[-1] = size
        self.size += more

    def _is_gone(self) -> bool:
        """Somebody has removed the last segment under us."""
        if self._fd >= 0:
            return os.fstat(self._fd).st_nlink == 0
        return bool(self.segments) and not self._path(self.segments[-1]).exists()

    def _forget(self) -> None:
        self.close()
        self.segments.clear()
        self._sizes.clear()
        self.size = self.occupied = 0

    def _begin(self, now: int) -> None:
        """Names grow, also when the clock was set back."""
        self.close()
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        last = self.segments[-1].at + 1 if self.segments else 0
        segment = Segment(self.next, max(now, last, self.last_at))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(self._path(segment), flags, 0o600)
        self.segments.append(segment)
        self._sizes.append(0)

    def _write(self, data: bytes) -> int:
        """How many bytes of whole lines are there now; what was written of another line is taken back."""
        done = 0
        try:
            while done < len(data):
                done += os.write(self._fd, data[done:] if done else data)
        except OSError:
            whole = data.rfind(b"\n", 0, done) + 1
            self._take_back(self._sizes[-1] + whole)
            if not whole:
                raise
            return whole
        return done

    def _take_back(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError:
            self.close()

    def _look_at_the_end(self) -> None:
        """Count the last segment's lines; what a crash has left of one more is cut off."""
        path, lines, whole, offset = self._path(self.segments[-1]), 0, 0, 0
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                lines += piece.count(b"\n")
                whole = offset + piece.rfind(b"\n") + 1 if b"\n" in piece else whole
                offset += len(piece)
            self.last_at = min(os.fstat(file.fileno()).st_mtime_ns, time.time_ns())
        if whole < offset:
            os.truncate(path, whole)
            self._grow(whole - offset)
        self.next = self.segments[-1].first + lines
