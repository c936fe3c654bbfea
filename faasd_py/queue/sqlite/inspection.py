"""The statements that answer questions, on a connection of its own: a long answer holds up no commit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from faasd_py.core.call import Call
from faasd_py.core.identity import key_time
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome
from faasd_py.queue.contract import Record
from faasd_py.queue.keys import Keys
from faasd_py.queue.spool import BodyStore
from faasd_py.queue.sqlite import rows

_RECORD: Final = (
    "calls.key, state, rank, due, attempts, size, call_id, head, started, finished, status, reason, history"
)


class Picture(msgspec.Struct, frozen=True):
    """What memory knows better than the record: which calls are held, and which only seem to be."""

    held: dict[int, int]
    """Attempts begun, by the key of each call that a worker holds."""
    fused: frozenset[int]
    """READY although on record as LEASED."""


class Reader:
    """Answers questions. Blocks: for one thread at a time."""

    def __init__(self, path: Path, keys: Keys, body_store: BodyStore) -> None:
        self._path = path
        self._keys = keys
        self._body_store = body_store
        self._opened: apsw.Connection | None = None

    def _execute(self, statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._opened is None:
            self._opened = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
            self._opened.set_busy_timeout(5000)
        return self._opened.execute(statement, values).fetchall()

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
        found = self._execute(f"SELECT {_RECORD} FROM calls WHERE key = ?", (key,))
        return self._record(found[0], picture) if found else None

    def records(
        self, lane: int | None, state: State | None, before: int | None, limit: int, picture: Picture
    ) -> list[Record]:
        """Newest first."""
        found = self._select(_RECORD, lane, state, before, limit, picture)
        return [self._record(row, picture) for row in found]

    def keys_of(
        self, lane: int | None, state: State | None, before: int | None, limit: int, picture: Picture
    ) -> list[int]:
        """Of matching calls that no worker holds, newest first."""
        found = self._select("calls.key", lane, state, before, limit + len(picture.held), picture)
        return [row[0] for row in found if row[0] not in picture.held][:limit]

    def _select(
        self,
        columns: str,
        lane: int | None,
        state: State | None,
        before: int | None,
        limit: int,
        picture: Picture,
    ) -> list[tuple[Any, ...]]:
        where, values = ["1"], []
        if lane is not None:
            where.append("lane = ?")
            values.append(lane)
        if state is not None:
            where.append(_in_state(state, picture))
        if before is not None:
            where.append("key < ?")
            values.append(before)
        statement = f"SELECT {columns} FROM calls WHERE {' AND '.join(where)} ORDER BY key DESC LIMIT ?"
        return self._execute(statement, (*values, limit))

    def _record(self, row: Sequence[Any], picture: Picture) -> Record:
        key, state, _rank, due, attempts, size, call_id, head, started, finished, status, reason, history = (
            row
        )
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


def _in_state(state: State, picture: Picture) -> str:
    """A condition; the keys in it are our own integers."""
    held, fused = ",".join(map(str, picture.held)), ",".join(map(str, picture.fused))
    if state is State.LEASED:
        return f"calls.key IN ({held})"
    if state is State.READY:
        return f"((state = {state:d} AND calls.key NOT IN ({held})) OR calls.key IN ({fused}))"
    return f"state = {state:d}"
