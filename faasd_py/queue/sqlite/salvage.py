"""Saving what can be read from a damaged file into a new one; the damaged one is kept beside it, never deleted.

A table is a tree of pages in key order. The walk goes up until a page cannot be read, leaps until it finds one that
can, and walks down from there to the gap: only the rows of unreadable pages are lost. Indexes and figures are made anew.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw

from faasd_py.core.errors import QueueBroken
from faasd_py.core.lifecycle import State
from faasd_py.queue.spool import sync_directory
from faasd_py.queue.sqlite import rows, schema
from faasd_py.queue.sqlite.figures import Figures
from faasd_py.queue.sqlite.upkeep import LaneRef

_STEP: Final = 256
_MOST: Final = 1 << 62
_CALL_COLUMNS: Final = (
    "key, lane, state, rank, due, attempts, flags, size, call_id, head, started, finished, status, reason,"
    " keep, kept, outcome, history"
)
_DAMAGE: Final = (apsw.CorruptError, apsw.IOError)
logger: Final = logging.getLogger("faasd_py.queue")


def salvage(path: Path) -> Path:
    """Put a new file with all that can be read in the place of a damaged one; where the damaged one lies now.

    Raises:
        QueueBroken: nothing can be read; the file is left as it is.
    """
    fresh = path.with_name(f"{path.name}.salvage")
    _remove(fresh)
    saved, lost = _copy(path, fresh)
    kept = path.with_name(f"{path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
    for ending in ("", "-wal"):
        with suppress(FileNotFoundError):
            Path(f"{path}{ending}").rename(f"{kept}{ending}")
    _remove(path)
    fresh.rename(path)
    sync_directory(path.parent)
    logger.error(
        "%s was damaged: %d calls were saved, pages were unreadable in %d places; the damaged file is kept as %s",
        path, saved, lost, kept,
    )  # fmt: skip
    return kept


def _remove(path: Path) -> None:
    for ending in ("", "-wal", "-shm"):
        Path(f"{path}{ending}").unlink(missing_ok=True)


def _copy(path: Path, fresh: Path) -> tuple[int, int]:
    source = apsw.Connection(str(path))
    target = schema.connect(fresh)
    try:
        schema.prepare(target, fresh)
        with target:
            walk = _Walk(source)
            saved = _calls(walk, target, _node(source, target))
            _others(walk, target)
        _check(path, saved, walk.gaps)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except BaseException:
        target.close()
        _remove(fresh)
        raise
    finally:
        source.close()
    target.close()
    for ending in ("-wal", "-shm"):
        Path(f"{fresh}{ending}").unlink(missing_ok=True)
    return saved, walk.gaps


def _check(path: Path, saved: int, gaps: int) -> None:
    if gaps and not saved:
        raise QueueBroken(f"{path}: is damaged beyond repair; restore it, or move it away to start empty")


def _node(source: apsw.Connection, target: apsw.Connection) -> int:
    """The store's number, so that the ids that were told stay good."""
    try:
        found = source.execute("SELECT name, value FROM meta WHERE name IN ('node', 'last')").fetchall()
    except _DAMAGE:
        found = []
    target.executemany("UPDATE meta SET value = ?2 WHERE name = ?1", found)
    node = target.execute("SELECT value FROM meta WHERE name = 'node'").get
    assert isinstance(node, int)  # noqa: S101 - schema.prepare has made it
    return node


class _Walk:
    """Reads tables in key order, round what cannot be read; `gaps` counts the places."""

    def __init__(self, source: apsw.Connection) -> None:
        self.source = source
        self.gaps = 0

    def table(self, name: str, columns: str) -> Iterator[Sequence[Any]]:
        """Every readable row; the first column is the key."""
        last = -1
        while True:
            try:
                page = self._read(
                    f"SELECT {columns} FROM {name} WHERE key > ? ORDER BY key LIMIT {_STEP}",
                    last,
                )
            except _DAMAGE:
                yield from (single := self._singly(name, columns, last))
                if single:
                    last = single[-1][0]
                    continue
                self.gaps += 1
                after = self._leap(name, last)
                if after is None:
                    return
                yield from self._down(name, columns, last, after)
                last = after
                continue
            yield from page
            if len(page) < _STEP:
                return
            last = page[-1][0]

    def _read(self, statement: str, *values: int) -> list[Any]:
        return self.source.execute(statement, values).fetchall()

    def _singly(self, name: str, columns: str, last: int) -> list[Sequence[Any]]:
        """The rows above a key, up to the first that cannot be read."""
        found: list[Sequence[Any]] = []
        with suppress(*_DAMAGE):
            for row in self.source.execute(
                f"SELECT {columns} FROM {name} WHERE key > ? ORDER BY key",
                (last,),
            ):
                found.append(row)
                if len(found) == _STEP:
                    break
        return found

    def _leap(self, name: str, last: int) -> int | None:
        """The first readable key that doubling steps find beyond a gap."""
        step = 1
        while last + step < _MOST:
            with suppress(*_DAMAGE):
                found = self._read(f"SELECT key FROM {name} WHERE key >= ? ORDER BY key LIMIT 1", last + step)
                return found[0][0] if found else None
            step *= 2
        return None

    def _down(self, name: str, columns: str, last: int, after: int) -> list[Sequence[Any]]:
        """From a key down to the gap, in ascending order."""
        found: list[Sequence[Any]] = []
        with suppress(*_DAMAGE):
            statement = f"SELECT {columns} FROM {name} WHERE key <= ? AND key > ? ORDER BY key DESC"
            found.extend(self.source.execute(statement, (after, last)))
        return found[::-1]


def _calls(walk: _Walk, target: apsw.Connection, node: int) -> int:
    """Copy calls and bodies, and make the figures anew; how many calls it were."""
    figures, count = Figures(), 0
    insert = f"INSERT OR IGNORE INTO calls VALUES ({','.join('?' * 18)})"
    for row in walk.table("calls", _CALL_COLUMNS):
        key, state, size, head, kept = row[0], row[2], row[7], row[9], row[15] or 0
        try:
            name = rows.unpack_head(head).lane
        except (rows.Damaged, TypeError) as error:
            target.execute(
                "INSERT OR IGNORE INTO quarantine VALUES (?, NULL, ?, ?, ?, NULL)",
                (key, time.time(), str(error), head),
            )
            continue
        lane = LaneRef(rows.lane_number(name, node), name)
        target.execute(insert, (key, lane.id, *row[2:]))
        figures.found(lane, State(state), size, kept)
        count += 1
    figures.write(target.execute)
    return count


def _others(walk: _Walk, target: apsw.Connection) -> None:
    for name, columns in (("bodies", "key, body"), ("answers", "key, outcome")):
        statement = f"INSERT OR IGNORE INTO {name} VALUES (?, ?)"
        for row in walk.table(name, columns):
            target.execute(statement, row)
    for row in walk.table("quarantine", "key, lane, at, reason, head, body"):
        target.execute("INSERT OR IGNORE INTO quarantine VALUES (?, ?, ?, ?, ?, ?)", row)
    with suppress(*_DAMAGE):
        for row in walk.source.execute("SELECT * FROM keyed"):
            target.execute("INSERT OR IGNORE INTO keyed VALUES (?, ?, ?, ?, ?, ?)", row)
