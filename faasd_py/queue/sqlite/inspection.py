"""The statements that answer questions, on a connection of its own: a long answer holds up no commit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Final

import apsw
from msgspec import json

from faasd_py.core.call import Call
from faasd_py.core.identity import key_time
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome
from faasd_py.queue.contract import Record
from faasd_py.queue.keys import Keys
from faasd_py.queue.spool import BodyStore
from faasd_py.queue.sqlite import rows
from faasd_py.queue.sqlite.pages import TOP, Pages, Picture

_RECORD: Final = (
    "SELECT calls.key, state, due, attempts, size, call_id, head, started, finished, status, reason, history"
)
_RECORD_OF: Final = f"{_RECORD} FROM calls WHERE key = ?"
_RECORDS_OF: Final = f"{_RECORD} FROM json_each(?) CROSS JOIN calls ON calls.key = json_each.value"
"""In the order of the list, each by its key."""
AT_ONCE: Final = 50
"""Records that are made before another thread gets its turn for certain."""


class Reader:
    """Answers questions. Blocks: for one thread at a time."""

    def __init__(self, path: Path, keys: Keys, body_store: BodyStore) -> None:
        self._path = path
        self._keys = keys
        self._body_store = body_store
        self._opened: apsw.Connection | None = None

    def _cursor(self, statement: str, values: Sequence[Any]) -> apsw.Cursor:
        if self._opened is None:
            self._opened = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            self._opened.set_busy_timeout(5000)
        return self._opened.execute(statement, values)

    def _execute(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        return self._cursor(statement, values).fetchall()

    def close(self) -> None:
        """Close the connection, if it was opened."""
        if self._opened is not None:
            self._opened.close()

    def resolve(self, call: str) -> int | None:
        """The key of a queue id that is on record, else of the newest call with this X-Call-Id."""
        key = self._keys.key(call)
        if key is not None and self._execute("SELECT 1 FROM calls WHERE key = ?", (key,)):
            return key
        found = self._execute("SELECT max(key) FROM calls WHERE call_id = ?", (call,))
        newest: int | None = found[0][0]
        return newest

    def matching(self, call: str) -> list[int]:
        """The key of a queue id, else of every call with this X-Call-Id, newest first."""
        key = self._keys.key(call)
        if key is not None and self._execute("SELECT 1 FROM calls WHERE key = ?", (key,)):
            return [key]
        return [
            row[0]
            for row in self._execute("SELECT key FROM calls WHERE call_id = ? ORDER BY key DESC", (call,))
        ]

    def record(self, key: int, picture: Picture) -> Record | None:
        """The record of a call."""
        found = self._execute(_RECORD_OF, (key,))
        return self._record(found[0], picture) if found else None

    def records(
        self, lane: int | None, state: State | None, before: int | None, limit: int, picture: Picture
    ) -> list[Record]:
        """Newest first."""
        with self._pages(picture).keys(lane, state, TOP if before is None else before) as keys:
            wanted = list(islice(keys, limit))
        records: list[Record] = []
        for begin in range(0, len(wanted), AT_ONCE):
            some = json.encode(wanted[begin : begin + AT_ONCE]).decode()
            records += [self._record(row, picture) for row in self._execute(_RECORDS_OF, (some,))]
            time.sleep(0)
        return records

    def keys_of(
        self, lane: int | None, state: State | None, before: int | None, limit: int, picture: Picture
    ) -> list[int]:
        """Of matching calls that no worker holds, newest first."""
        with self._pages(picture).keys(lane, state, TOP if before is None else before) as keys:
            return list(islice((key for key in keys if key not in picture.held), limit))

    def _pages(self, picture: Picture) -> Pages:
        return Pages(self._cursor, picture)

    def _record(self, row: Sequence[Any], picture: Picture) -> Record:
        key, state, due, attempts, size, call_id, head, started, finished, status, reason, history = row
        if key in picture.held:
            state, attempts = State.LEASED, picture.held[key]
        elif key in picture.fused:
            state, attempts, started = State.READY, attempts - 1, None
        call, identity = _head(head), self._keys.text(key)
        return Record(
            id=identity, call_id=call_id or identity, lane=call.lane, state=State(state), attempts=attempts,
            accepted_at=call.accepted_at or key_time(key), due_at=None if due is None else due / 1000, started_at=started,
            finished_at=finished, expires_at=call.expires_at, status=status, reason=reason or "",
            priority=call.priority, size=size, callback_url=call.callback_url, history=rows.read_history(history),
        )  # fmt: skip

    def request(self, key: int) -> Call | None:
        """The call as it was put, unless its body was removed."""
        found = self._execute(
            f"SELECT flags, head, {rows.BODY} FROM calls WHERE calls.key = ?",
            (key,),
        )
        if not found:
            return None
        flags, head, body = found[0]
        try:
            return rows.unpack(key, flags, head, body, self._body_store)
        except rows.Damaged:
            return None

    def result(self, key: int) -> Outcome | None:
        """The last outcome, unless it was removed."""
        found = self._execute(
            "SELECT ifnull(answers.outcome, calls.outcome) FROM calls"
            " LEFT JOIN answers ON answers.key = calls.key WHERE calls.key = ?",
            (key,),
        )
        if not found or found[0][0] is None:
            return None
        try:
            return rows.unpack_outcome(found[0][0])
        except rows.Damaged:
            return None


def _head(head: bytes) -> Call:
    try:
        return rows.unpack_head(head)
    except rows.Damaged:
        return Call(lane="")
