"""All shelves, and the bounds that hold for all of them together. Used by one thread."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Final

from faasd_py.observe.logbook.segments import directory_name
from faasd_py.observe.logbook.shelf import BLOCK, Shelf

OPEN: Final = 64
"""Files that are kept open."""
_SLACK: Final = 32
"""When all together are too large, so much of the bound (a 32nd) is made free at once."""


class Library:
    """Shelves by the names of their directories. Errors of the disk are OSErrors, except where it says otherwise."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._shelves: dict[str, Shelf] = {}
        self._open: OrderedDict[str, Shelf] = OrderedDict()
        """Those that were written to last, by label."""
        self.occupied = 0
        """Bytes on disk, in whole blocks."""

    def load(self) -> None:
        """Find what earlier lives have left; a shelf that cannot be read is left alone."""
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = sorted(path for path in self._directory.iterdir() if path.is_dir())
        except OSError:
            return
        for directory in found:
            try:
                self._shelves[directory.name] = shelf = Shelf(directory)
            except OSError:
                continue
            self.occupied += shelf.occupied

    def shelf(self, label: str) -> Shelf:
        """The function's, made when it is not there."""
        shelf = self._open.get(label)
        if shelf is None:
            name = directory_name(label)
            shelf = self._shelves.get(name)
            if shelf is None:
                shelf = self._shelves[name] = Shelf(self._directory / name)
            self._open[label] = shelf
        self._open.move_to_end(label)
        if len(self._open) > OPEN:
            self._open.popitem(last=False)[1].close()
        return shelf

    def append(self, label: str, records: list[bytes], now: int, largest: int, oldest: int) -> int:
        """See Shelf.append."""
        shelf = self.shelf(label)
        before = shelf.occupied
        try:
            return shelf.append(records, now, largest, oldest)
        finally:
            self.occupied += shelf.occupied - before

    def make_room(self, label: str, size: int, per_function: int, total: int) -> None:
        """Remove the oldest segments, so that `size` more bytes of this function are within both bounds."""
        shelf = self.shelf(label)
        while shelf.segments and shelf.size + size > per_function:
            self.occupied -= shelf.drop_oldest()
        if self.occupied + size + BLOCK > total:
            self._free(self.occupied + size + BLOCK - total + total // _SLACK)

    def shrink(self, per_function: int, total: int) -> None:
        """Come within the bounds, which may have become narrower. Never raises."""
        try:
            for shelf in self._shelves.values():
                while shelf.segments and shelf.size > per_function:
                    self.occupied -= shelf.drop_oldest()
            if self.occupied > total:
                self._free(self.occupied - total)
        except OSError:
            return

    def expire(self, before: int) -> None:
        """Remove segments that were last written to before this time. Never raises."""
        for shelf in self._shelves.values():
            try:
                while shelf.segments and shelf.ended_at() < before:
                    self.occupied -= shelf.drop_oldest()
            except OSError:
                continue

    def close(self) -> None:
        """Close all files."""
        while self._open:
            self._open.popitem()[1].close()

    def _free(self, wanted: int) -> None:
        """Remove the oldest segments of all until so many bytes are free."""
        oldest = sorted(
            (segment.at, name) for name, shelf in self._shelves.items() for segment in shelf.segments
        )
        for _, name in oldest:
            if wanted <= 0:
                return
            freed = self._shelves[name].drop_oldest()
            self.occupied -= freed
            wanted -= freed
