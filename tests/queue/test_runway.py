"""The log is laid out ahead, and SQLite does not mind."""

from __future__ import annotations

import os
from pathlib import Path

import apsw
import pytest

from faasd_py.queue.sqlite.runway import SIZE, lay_out
from faasd_py.queue.sqlite.schema import connect


def opened(path: Path) -> apsw.Connection:
    connection = connect(path)
    connection.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)")
    return connection


def numbers(connection: apsw.Connection) -> list[int]:
    return [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")]


def log_of(path: Path) -> Path:
    return path.with_name(path.name + "-wal")


def test_commits_do_not_make_it_grow(tmp_path: Path) -> None:
    """After it was laid out, the log keeps its size through more than it is long."""
    path = tmp_path / "q"
    connection = opened(path)
    assert lay_out(log_of(path))
    for number in range(2500):
        connection.execute("INSERT INTO t VALUES (?)", (number,))
    assert log_of(path).stat().st_size == SIZE
    assert numbers(connection) == list(range(2500))
    connection.close()


def test_what_was_in_it_stays(tmp_path: Path) -> None:
    """Commits from before are there, for this connection and for another, and so are those from after."""
    path = tmp_path / "q"
    connection, reader = opened(path), connect(path)
    connection.execute("INSERT INTO t VALUES (1)")
    assert lay_out(log_of(path))
    assert numbers(reader) == [1]
    connection.execute("INSERT INTO t VALUES (2)")
    assert numbers(reader) == numbers(connection) == [1, 2]


def test_after_a_crash(tmp_path: Path) -> None:
    """The file and the log as a crash leaves them, zeros and all, are read to the last commit."""
    path, copy = tmp_path / "q", tmp_path / "copy"
    connection = opened(path)
    connection.execute("INSERT INTO t VALUES (1)")
    assert lay_out(log_of(path))
    connection.execute("INSERT INTO t VALUES (2)")
    for file, left in ((path, copy), (log_of(path), log_of(copy))):
        left.write_bytes(file.read_bytes())
    assert numbers(connect(copy)) == [1, 2]
    assert connect(copy).execute("PRAGMA integrity_check").get == "ok"


def test_a_log_that_is_long_enough_stays_as_it_is(tmp_path: Path) -> None:
    """Nothing is written over."""
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100)
    assert lay_out(log, 50)
    assert log.read_bytes() == b"x" * 100
    assert lay_out(log, 102)
    assert log.read_bytes() == b"x" * 100 + bytes(2)


def test_no_log(tmp_path: Path) -> None:
    """Without a log nothing is made."""
    assert not lay_out(tmp_path / "log")
    assert not (tmp_path / "log").exists()


def test_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a full disk the log is left as long as it was."""
    log = tmp_path / "log"
    log.write_bytes(b"x" * 100)
    write, calls = os.pwrite, []

    def full(*arguments: object) -> int:
        calls.append(arguments)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("faasd_py.queue.sqlite.runway.os.pwrite", full)
    assert not lay_out(log)
    assert len(calls) == 2
    assert log.read_bytes() == b"x" * 100
