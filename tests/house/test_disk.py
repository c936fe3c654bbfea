"""The disk is full, or was written wrongly: nothing is promised that cannot be kept, and what can be served is."""

from __future__ import annotations

import os
import random
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, service
from tests.house.load import Books, Loader
from tests.house.patience import until

pytestmark = pytest.mark.crash
SOON = {"attempts": 60, "min_wait": "10ms", "max_wait": "100ms"}


def ran(daemon: Daemon) -> set[str]:
    """The calls that functions/recorder.py has seen."""
    path = daemon.root / "record"
    return {line.split(" ")[0] for line in path.read_text().splitlines()} if path.exists() else set()


@pytest.mark.parametrize("size", [3_000, 400_000])
def test_a_full_disk_refuses_and_loses_nothing(
    make: Callable[..., Daemon], tmp_path: Path, small_disk: Path, size: int
) -> None:
    """503 with Retry-After and the reason on /healthz; after a kill and with room again all that was accepted runs."""
    root = tmp_path / "0"
    functions = {"quick": service(root, script="recorder.py", retry=SOON)}
    daemon = make(functions, state={"directory": str(small_disk / "state")})
    daemon.start()
    daemon.wait_healthy()
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(12 << 20))
    books = Books()
    fill(daemon, books, "before", size, "X-Delay: 3s\r\n")
    assert books.accepted
    assert books.refused, "the disk is full"
    refusal = daemon.ask("POST", "/async-function/quick", b"x" * size)
    assert refusal.status == 503, refusal
    assert int(refusal.headers["retry-after"]) >= 1
    assert daemon.ask("POST", "/function/quick", b"sync", {"X-Call-Id": "sync"}).status == 200
    assert "Traceback" not in daemon.log
    daemon.kill()
    ballast.unlink()
    daemon.start()
    until(lambda: books.accepted <= ran(daemon), within=30, what="every 202 ran")
    assert not ran(daemon) & books.refused
    until(
        lambda: daemon.ask("POST", "/async-function/quick", b"x" * size).status == 202,
        what="there is room again",
    )
    daemon.wait_healthy()


def fill(daemon: Daemon, books: Books, name: str, size: int, fields: str) -> None:
    """Put calls until ten in a row are refused."""
    for number in range(5000):
        loader = Loader(
            daemon.port,
            books,
            [[f"{name}-{number}-{n}" for n in range(10)]],
            lambda _: ("/async-function/quick", b"f" * size, fields),
        )
        refused = len(books.refused)
        loader.start()
        loader.join()
        if len(books.refused) - refused == 10:
            return
    raise AssertionError(f"the disk never got full: {books}")


def test_calls_drain_while_the_disk_is_full(
    make: Callable[..., Daemon], tmp_path: Path, small_disk: Path
) -> None:
    """Without a restart: what waits runs, and when there is room again new calls are accepted and health returns."""
    root = tmp_path / "0"
    functions = {"quick": service(root, script="recorder.py", retry=SOON)}
    daemon = make(functions, state={"directory": str(small_disk / "state")})
    daemon.start()
    daemon.wait_healthy()
    books = Books()
    fill(daemon, books, "waits", 20_000, "X-Delay: 2s\r\n")
    assert books.accepted
    until(lambda: books.accepted <= ran(daemon), within=30, what="every 202 ran")
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    until(
        lambda: daemon.ask("POST", "/async-function/quick", b"x", {"X-Call-Id": "again"}).status == 202,
        within=30,
        what="it accepts again",
    )
    daemon.wait_healthy(30)
    until(lambda: "again" in ran(daemon))
    assert not ran(daemon) & books.refused
    assert daemon.stop() == 0


def test_kills_while_the_disk_is_full(make: Callable[..., Daemon], tmp_path: Path, small_disk: Path) -> None:
    """Six kills with no room left, small and large bodies: it starts each time, and nothing that was accepted is lost."""
    root = tmp_path / "0"
    functions = {"quick": service(root, script="recorder.py", retry=SOON)}
    daemon = make(functions, state={"directory": str(small_disk / "state")})
    books, dice = Books(), random.Random(4)
    for number in range(6):
        daemon.start()
        size = 2_000 if number % 2 else 300_000
        loader = Loader(
            daemon.port,
            books,
            [[f"{number}-{t}-{n}" for n in range(400)] for t in range(3)],
            lambda _, size=size: ("/async-function/quick", b"k" * size, "X-Delay: 6s\r\n"),
        )
        loader.start()
        time.sleep(dice.uniform(0.1, 0.8))
        daemon.kill()
        loader.join()
    assert books.refused, "the disk was full at times"
    daemon.start()
    until(lambda: books.accepted <= ran(daemon), within=60, every=0.1, what="every 202 ran")
    assert not ran(daemon) & books.refused
    daemon.wait_healthy(30)
    until(daemon.idle, within=30, what="the queue is empty")
    until(lambda: not daemon.spooled(), what="no file is left")
    assert "Traceback" not in daemon.log


def store(daemon: Daemon) -> Path:
    """The database file."""
    return daemon.state / "queue" / "queue.sqlite"


@pytest.fixture
def loaded(start: Callable[..., Daemon], tmp_path: Path) -> tuple[Daemon, Books]:
    """A daemon that was killed with two hundred calls waiting."""
    functions = {"quick": service(tmp_path / "0", script="recorder.py", retry=SOON)}
    daemon = start(functions)
    books = Books()
    loader = Loader(
        daemon.port,
        books,
        [[f"d{t}-{n}" for n in range(50)] for t in range(4)],
        lambda _: ("/async-function/quick", b"body", "X-Delay: 2s\r\n"),
    )
    loader.start()
    loader.join()
    assert len(books.accepted) == 200
    daemon.kill()
    return daemon, books


def test_noise_at_the_end_of_the_wal_costs_nothing(loaded: tuple[Daemon, Books]) -> None:
    """A write that was torn by a power cut is not a promise: every 202 runs."""
    daemon, books = loaded
    wal = store(daemon).with_name(store(daemon).name + "-wal")
    with wal.open("ab") as file:
        file.write(random.Random(3).randbytes(30_000))
    daemon.start()
    until(lambda: books.accepted <= ran(daemon), what="every 202 ran")


def test_a_truncated_wal_costs_only_what_was_cut(loaded: tuple[Daemon, Books]) -> None:
    """The store opens with the transactions that are whole; the daemon serves, accepts and says nothing untrue."""
    daemon, books = loaded
    wal = store(daemon).with_name(store(daemon).name + "-wal")
    size = wal.stat().st_size
    assert size > 0
    os.truncate(wal, size * 2 // 3 + 100)
    daemon.start()
    call = daemon.put("quick", b"new", {"X-Call-Id": "after-the-cut"})
    until(lambda: "after-the-cut" in ran(daemon), what="a new call runs")
    daemon.wait_healthy()
    assert daemon.wait_state(call, "DONE")
    assert ran(daemon) <= books.accepted | {"after-the-cut"}
    assert daemon.stop() == 0


def test_a_damaged_row_is_set_aside_and_the_rest_is_served(loaded: tuple[Daemon, Books]) -> None:
    """One of two hundred cannot be read: it is reported and counted, the others run."""
    daemon, books = loaded
    damage_one(store(daemon))
    daemon.start()
    until(lambda: len(books.accepted - ran(daemon)) <= 1, what="all others ran")
    daemon.wait_healthy()
    until(lambda: "quarantine" in daemon.log or "damaged" in daemon.log, what="it is reported")
    page = daemon.ask("GET", "/metrics").text
    assert [line for line in page.splitlines() if "quarantine" in line and line.endswith(" 1.0")]
    time.sleep(0.2)
    assert len(books.accepted - ran(daemon)) == 1
    assert "Traceback" not in daemon.log
    assert daemon.stop() == 0


def damage_one(path: Path) -> None:
    """Overwrite the stored request of one call with bytes that mean nothing."""
    with sqlite3.connect(path) as database:
        for table, column in blobs(database):
            changed = database.execute(
                f"update {table} set {column} = x'ff00c1c1c1' where rowid ="
                f" (select rowid from {table} where length({column}) > 60 limit 1 offset 50)"
            ).rowcount
            if changed:
                break
    database.close()
    assert changed == 1


def blobs(database: sqlite3.Connection) -> list[tuple[str, str]]:
    """The columns that hold bytes, by table."""
    tables = [row[0] for row in database.execute("select name from sqlite_master where type = 'table'")]
    return [
        (table, row[1])
        for table in tables
        for row in database.execute(f"pragma table_info({table})")
        if row[2].upper() == "BLOB"
    ]
