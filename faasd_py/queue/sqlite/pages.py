"""The keys of matching calls, newest first, each read only when it is asked for: a page costs what is on it, however many there are.

Every stream walks an index backwards; what no index has in order (a lane's calls in any state, a state's in any lane) is
merged from streams that each have it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Final, Protocol

import msgspec

from faasd_py.core.lifecycle import State

TOP: Final = (1 << 63) - 1
"""Greater than every key."""
_ALL: Final = "SELECT key FROM calls WHERE key < ? ORDER BY key DESC"
_LISTED: Final = (
    "SELECT key FROM calls INDEXED BY calls_listed"
    f" WHERE state <> {State.LEASED:d} AND lane = ? AND state = ? AND key < ? ORDER BY key DESC"
)
_LEASED: Final = (
    "SELECT key FROM calls INDEXED BY calls_leased"
    f" WHERE state = {State.LEASED:d} AND lane = ? AND key < ? ORDER BY key DESC"
)
_LANES: Final = (
    "WITH RECURSIVE one(lane) AS ("
    f"SELECT (SELECT min(lane) FROM calls INDEXED BY calls_listed WHERE state <> {State.LEASED:d})"
    " UNION ALL SELECT (SELECT min(lane) FROM calls INDEXED BY calls_listed"
    f" WHERE state <> {State.LEASED:d} AND calls.lane > one.lane) FROM one WHERE lane IS NOT NULL"
    ") SELECT lane FROM one WHERE lane IS NOT NULL"
)
"""One look into the index for each lane, not one for each call."""
_LANE_OF: Final = "SELECT lane FROM calls WHERE key = ?"


class Picture(msgspec.Struct, frozen=True):
    """What memory knows better than the record: which calls are held, and which only seem to be."""

    held: dict[int, int]
    """Attempts begun, by the key of each call that a worker holds."""
    fused: frozenset[int]
    """READY although on record as LEASED."""


class Cursor(Protocol):
    """What `execute` returns: rows, read as they are asked for."""

    def __iter__(self) -> Iterator[tuple[Any, ...]]: ...
    def close(self) -> object: ...  # noqa: D102


class Pages:
    """One question, answered by the record as it stands at one moment.

    Its cursors are closed with it, for an open one keeps the log from being taken up.
    """

    def __init__(self, execute: Callable[[str, tuple[Any, ...]], Cursor], picture: Picture) -> None:
        self._execute = execute
        self._picture = picture
        self._opened = ExitStack()

    @contextmanager
    def keys(self, lane: int | None, state: State | None, before: int) -> Iterator[Iterator[int]]:
        """Of calls in that lane and state (None: any), older than `before`."""
        self._execute("BEGIN", ())
        try:
            with self._opened:
                yield self._keys(lane, state, before)
        finally:
            self._execute("END", ())

    def _keys(self, lane: int | None, state: State | None, before: int) -> Iterator[int]:
        if state is State.LEASED:
            return self._among(self._picture.held, lane, before)
        if state is State.READY:
            held = self._picture.held
            on_record = (key for key in self._in_state(lane, state, before) if key not in held)
            return heapq.merge(on_record, self._among(self._picture.fused, lane, before), reverse=True)
        if state is not None:
            return self._in_state(lane, state, before)
        if lane is None:
            return self._stream(_ALL, before)
        listed = (self._in_state(lane, one, before) for one in State if one is not State.LEASED)
        return heapq.merge(self._stream(_LEASED, lane, before), *listed, reverse=True)

    def _in_state(self, lane: int | None, state: State, before: int) -> Iterator[int]:
        lanes = [lane] if lane is not None else list(self._stream(_LANES))
        streams = [self._stream(_LISTED, one, int(state), before) for one in lanes]
        return streams[0] if len(streams) == 1 else heapq.merge(*streams, reverse=True)

    def _among(self, keys: Iterable[int], lane: int | None, before: int) -> Iterator[int]:
        """Of calls in memory: few, and each is looked up."""
        for key in sorted(keys, reverse=True):
            if key < before and any(lane in {None, found} for found in self._stream(_LANE_OF, key)):
                yield key

    def _stream(self, statement: str, *values: int) -> Iterator[int]:
        cursor = self._execute(statement, values)
        self._opened.callback(cursor.close)
        return (row[0] for row in cursor)
