"""The tables, and how a file becomes ours: made, recognised, brought forward from an older version, or refused.

A call is one row of `calls`; `head` is the call in wire form, with its body when that is small. Which calls wait, run,
are delayed, dead or to be forgotten is found through partial indexes, so a row costs only the index it is in. The
figures of each lane are kept in `lanes` by the same transactions: nothing is ever counted.
"""

from __future__ import annotations

import ctypes
import secrets
from pathlib import Path
from typing import Final

import apsw

from faasd_py.core.errors import QueueBroken
from faasd_py.core.identity import NODE_BITS
from faasd_py.core.lifecycle import State

APPLICATION: Final = 0x46615079
VERSION: Final = 2
CRASHED, APART, SPOOLED, ANSWER_APART = 1, 2, 4, 8
"""Bits of `flags`: the last attempt was interrupted; the body is in `bodies`; it is a file; the answer is in `answers`."""

_LISTED: Final = f"CREATE INDEX calls_listed ON calls (lane, state) WHERE state <> {State.LEASED:d}"
"""In the order of keys, for pages (`pages.py`); a call that is started as soon as it is put gets into it when it is over."""
TABLES: Final = f"""
CREATE TABLE meta (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE calls (
    key INTEGER PRIMARY KEY,
    lane INTEGER NOT NULL,
    state INTEGER NOT NULL,
    rank INTEGER NOT NULL,
    due INTEGER,
    attempts INTEGER NOT NULL,
    flags INTEGER NOT NULL,
    size INTEGER NOT NULL,
    call_id TEXT,
    head BLOB NOT NULL,
    started REAL, finished REAL, status INTEGER, reason TEXT,
    keep INTEGER, kept INTEGER, outcome BLOB, history BLOB
);
CREATE INDEX calls_ready ON calls (lane, rank) WHERE state = {State.READY:d};
CREATE INDEX calls_leased ON calls (lane) WHERE state = {State.LEASED:d};
CREATE INDEX calls_delayed ON calls (due) WHERE state = {State.DELAYED:d};
{_LISTED};
CREATE INDEX calls_keep ON calls (keep) WHERE keep IS NOT NULL;
CREATE INDEX calls_call_id ON calls (call_id) WHERE call_id IS NOT NULL;
CREATE TABLE bodies (key INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE answers (key INTEGER PRIMARY KEY, outcome BLOB NOT NULL);
CREATE TABLE keyed (
    lane INTEGER NOT NULL, name TEXT NOT NULL, key INTEGER NOT NULL, call_id TEXT, fingerprint BLOB NOT NULL,
    until INTEGER NOT NULL, PRIMARY KEY (lane, name)
) WITHOUT ROWID;
CREATE INDEX keyed_until ON keyed (until);
CREATE TABLE lanes (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL,
    ready INTEGER NOT NULL, leased INTEGER NOT NULL, delayed INTEGER NOT NULL, dead INTEGER NOT NULL,
    bytes INTEGER NOT NULL, kept INTEGER NOT NULL
);
CREATE TABLE quarantine (key INTEGER PRIMARY KEY, lane INTEGER, at REAL, reason TEXT NOT NULL, head BLOB, body BLOB);
"""

MIGRATIONS: Final[dict[int, str]] = {1: f"DROP INDEX calls_dead; {_LISTED}"}
"""The statements that lead from a version to the next."""


def connect(path: Path) -> apsw.Connection:
    """A connection with which commits are on stable storage when they return.

    Raises:
        apsw.Error: it cannot be opened.
    """
    connection = apsw.Connection(str(path))
    connection.set_busy_timeout(5000)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA cache_size = -8000")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA wal_autocheckpoint = 2000")
    connection.execute("PRAGMA journal_size_limit = 67108864")
    _keep_log(connection)
    return connection


def _keep_log(connection: apsw.Connection) -> None:
    """Leave the WAL file in place at the end: a commit into blocks that exist already is the cheaper one."""
    yes = ctypes.c_int(1)
    connection.file_control("main", apsw.SQLITE_FCNTL_PERSIST_WAL, ctypes.addressof(yes))


def prepare(connection: apsw.Connection, path: Path) -> None:
    """Make the tables in an empty file; bring an older version forward.

    Raises:
        QueueBroken: the file is somebody else's, or of a version that is not known yet.
    """
    version, application = _number(connection, "user_version"), _number(connection, "application_id")
    if version == 0 and application == 0 and not _number(connection, "schema_version"):
        _make(connection)
        return
    if application != APPLICATION:
        raise QueueBroken(f"{path}: is a database, but not one of faasd-py")
    if version > VERSION:
        raise QueueBroken(
            f"{path}: was written by a newer faasd-py (schema {version}, this one knows {VERSION}); "
            "install that version, or move the file away"
        )
    for step in range(version, VERSION):
        with connection:
            connection.execute(MIGRATIONS[step])
            connection.execute(f"PRAGMA user_version = {step + 1}")


def _make(connection: apsw.Connection) -> None:
    with connection:
        connection.execute(TABLES)
        connection.execute(
            "INSERT INTO meta VALUES ('node', ?), ('last', 0), ('probe', 0)", (secrets.randbits(NODE_BITS),)
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def _number(connection: apsw.Connection, name: str) -> int:
    value = connection.execute(f"PRAGMA {name}").get
    assert isinstance(value, int)  # noqa: S101 - SQLite's own answer
    return value
