"""The statements, for the one thread that writes. A transaction either holds all of a batch or nothing of it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import apsw

from faasd_py.core.errors import IdempotencyConflict
from faasd_py.core.lifecycle import Move, State, after
from faasd_py.queue.contract import Accepted
from faasd_py.queue.keys import Keys
from faasd_py.queue.spool import BodyStore
from faasd_py.queue.sqlite.figures import Figures, Named
from faasd_py.queue.sqlite.jobs import Ask, Put, Settle, Start
from faasd_py.queue.sqlite.runway import lay_out
from faasd_py.queue.sqlite.schema import ANSWER_APART, APART, SPOOLED

_PUT_VALUES: Final = "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PUT: Final = (
    "INSERT INTO calls (key, lane, state, rank, due, attempts, flags, size, call_id, head, started) VALUES "
)
_PUT_STEPS: Final = tuple(
    (count, _PUT + ",".join([_PUT_VALUES] * count)) for count in (64, 32, 16, 8, 4, 2, 1)
)
_START: Final = (
    "UPDATE calls SET state = 1, attempts = attempts + 1, started = ?"
    " WHERE key IN (SELECT value FROM json_each(?))"
)
_SETTLE: Final = (
    "UPDATE calls SET state = ?, rank = ?, due = ?, attempts = ?, flags = ?, finished = ?, status = ?, reason = ?,"
    " keep = ?, kept = ?, outcome = ?, history = ? WHERE key = ?"
)
_RELEASE: Final = "UPDATE calls SET state = 0, attempts = ?, flags = ? WHERE key = ?"
logger: Final = logging.getLogger("faasd_py.queue")


class Store:
    """The writing connection. Only the commit thread uses it once it is open."""

    def __init__(
        self,
        connection: apsw.Connection,
        body_store: BodyStore,
        keys: Keys,
        clock: Callable[[], float],
        window: float,
    ) -> None:
        self.connection = connection
        self.execute: Callable[..., Any] = connection.cursor().execute
        self._many: Callable[..., Any] = connection.cursor().executemany
        self.body_store = body_store
        self.keys = keys
        self.clock = clock
        self.figures = Figures()
        self._window = window
        self._moved: list[Put] = []
        self._unlink: list[int] = []

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is done inside is on stable storage afterwards, or nothing is.

        Raises:
            apsw.Error, OSError: as they come; nothing is kept, and spooled bodies lie where they were.
        """
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.figures.write(self.execute)
            if self._moved:
                self.body_store.sync()
            self.execute("COMMIT")
        except BaseException:
            self._undo()
            raise
        self.figures.committed()
        self._moved.clear()
        self._sweep_bodies()

    def _undo(self) -> None:
        self.figures.clear()
        self._unlink.clear()
        for put in self._moved:
            assert put.spooled is not None  # noqa: S101 - only such are moved
            self.body_store.give_back(put.spooled, put.entry.key)
        self._moved.clear()
        if self.connection.in_transaction:
            self.execute("ROLLBACK")

    def _sweep_bodies(self) -> None:
        for key in self._unlink:
            self.body_store.remove(key)
        self._unlink.clear()

    def put(self, puts: Sequence[Put]) -> None:
        """Insert calls; those with an idempotency key one by one, for each sees the ones before it."""
        plain = [put for put in puts if put.call.idempotency_key is None or not self._known(put)]
        plain = [put for put in plain if put.error is None and put.duplicate is None]
        for put in plain:
            self._bodies(put)
            self.figures.entered(put.lane, put.row[2], put.entry.size)
        self._insert([put.row for put in plain])

    def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        at = 0
        for count, statement in _PUT_STEPS:
            while len(rows) - at >= count:
                if count == 1:
                    self.execute(statement, rows[at])
                else:
                    self.execute(statement, [value for row in rows[at : at + count] for value in row])
                at += count

    def _bodies(self, put: Put) -> None:
        if put.body is not None:
            self.execute("INSERT INTO bodies VALUES (?, ?)", (put.entry.key, put.body))
        if put.spooled is not None:
            self.body_store.take(put.spooled, put.entry.key)
            self._moved.append(put)

    def _known(self, put: Put) -> bool:
        """Whether the idempotency key was used within the window; if not, it is now."""
        now, call = self.clock(), put.call
        put.error = put.duplicate = None
        row = self.execute(
            "SELECT key, call_id, fingerprint FROM keyed WHERE lane = ? AND name = ? AND until > ?",
            (put.lane.id, call.idempotency_key, int(now)),
        ).fetchone()
        if row is None:
            self.execute(
                "INSERT OR REPLACE INTO keyed VALUES (?, ?, ?, ?, ?, ?)",
                (
                    put.lane.id, call.idempotency_key, put.entry.key, call.call_id, call.fingerprint,
                    int(now + self._window),
                ),
            )  # fmt: skip
            return False
        if row[2] != call.fingerprint:
            put.error = IdempotencyConflict("this Idempotency-Key was used with a different request")
        else:
            text = self.keys.text(row[0])
            put.duplicate = Accepted(id=text, call_id=row[1] or text, duplicate=True)
        return True

    def start(self, starts: Sequence[Start]) -> None:
        """Record that attempts begin."""
        keys = ",".join([str(start.entry.key) for start in starts])
        self.execute(_START, (self.clock(), f"[{keys}]"))
        for start in starts:
            self.figures.moved(start.lane, State.READY, State.LEASED)

    def settle(self, settles: Sequence[Settle]) -> None:
        """Record how attempts ended, with the callbacks that follow from them."""
        rows = [settle.row for settle in settles if settle.move is not Move.RELEASE]
        self._many(_SETTLE, rows)
        if len(rows) != len(settles):
            self._many(_RELEASE, [settle.row for settle in settles if settle.move is Move.RELEASE])
        for settle in settles:
            self._settled(settle)
        callbacks = [settle.callback for settle in settles if settle.callback is not None]
        if callbacks:
            self.put(callbacks)

    def _settled(self, settle: Settle) -> None:
        entry, state = settle.entry, after(State.LEASED, settle.move)
        was = State.LEASED if settle.was_leased else State.READY
        self.figures.moved(settle.lane, was, state, size=entry.size, kept=settle.kept - entry.kept)
        if settle.answer is not None:
            self.execute("INSERT OR REPLACE INTO answers VALUES (?, ?)", (entry.key, settle.answer))
        elif entry.flags & ANSWER_APART and settle.move is not Move.RELEASE:
            self.execute("DELETE FROM answers WHERE key = ?", (entry.key,))
        if entry.flags & (APART | SPOOLED) and state in (State.DONE, State.CANCELLED):
            self.drop_body(entry.key, entry.flags)

    def drop_body(self, key: int, flags: int) -> None:
        """The body is needed no longer; a file goes after the commit."""
        if flags & APART:
            self.execute("DELETE FROM bodies WHERE key = ?", (key,))
        if flags & SPOOLED:
            self._unlink.append(key)

    def quarantine(self, row: Sequence[Any], lane: Named, reason: str, state: State = State.READY) -> None:
        """Put a row (of `rows.WAITING_COLUMNS`) that cannot be read aside, as it is."""
        key, size, kept, head, body = row[0], row[5], row[6], row[8], row[9]
        logger.error("a damaged call is put aside: key %d in lane %s: %s", key, lane.name, reason)
        self.execute(
            "INSERT OR REPLACE INTO quarantine VALUES (?, ?, ?, ?, ?, ?)",
            (key, lane.id, self.clock(), reason, head, body),
        )
        self.execute("DELETE FROM calls WHERE key = ?", (key,))
        self.execute("DELETE FROM bodies WHERE key = ?", (key,))
        self.execute("DELETE FROM answers WHERE key = ?", (key,))
        self.figures.moved(lane, state, None, size=size, kept=-kept)

    def ask(self, asks: Sequence[Ask]) -> None:
        """Everything else, in order."""
        for ask in asks:
            ask.run(self)

    def probe(self) -> None:
        """Write something.

        Raises:
            apsw.Error: it cannot be written.
        """
        with self.transaction():
            self.execute("UPDATE meta SET value = ? WHERE name = 'probe'", (time.time_ns(),))

    def lay_out(self) -> None:
        """Make room for the log, as long as nothing else is done."""
        lay_out(Path(self.connection.filename_wal))

    def shrink(self) -> None:
        """Give free pages back to the file system.

        Raises:
            apsw.Error: it cannot be written.
        """
        self.execute("PRAGMA incremental_vacuum(4096)").fetchall()
        self.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def close(self) -> None:
        """Remember the last key and close the file."""
        try:
            with self.transaction():
                self.execute("UPDATE meta SET value = ? WHERE name = 'last'", (self.keys.last,))
        finally:
            self.connection.close()
