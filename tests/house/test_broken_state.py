"""A state directory that cannot be used stops the start with one sentence; nothing in it is touched."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, service
from tests.house.patience import until

Make = Callable[..., Daemon]


def refused(daemon: Daemon, *words: str) -> None:
    """The start fails with status 1 and a sentence that has these words."""
    done = daemon.cli("up")
    assert done.returncode == 1, done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("faasd-py: ")]
    assert len(sentences) == 1, done.stderr
    assert all(word in sentences[0] for word in words), sentences
    assert "Traceback" not in done.stderr
    assert daemon.family() == []


def test_a_store_of_a_newer_version_is_left_alone(make: Make, tmp_path: Path) -> None:
    """It says so, and the file is as it was."""
    daemon = make({"api": service(tmp_path / "0")})
    daemon.start()
    daemon.put("api/tell", b"", {"X-Delay": "1h"})
    assert daemon.stop() == 0
    path = daemon.state / "queue" / "queue.sqlite"
    with sqlite3.connect(path) as database:
        version = database.execute("pragma user_version").fetchone()[0]
        database.execute("pragma user_version = 999")
    database.close()
    refused(daemon, "queue.sqlite", "999")
    with sqlite3.connect(path) as database:
        assert database.execute("pragma user_version").fetchone()[0] == 999
        database.execute(f"pragma user_version = {version}")
    database.close()
    daemon.start()
    daemon.wait_healthy()
    assert len(daemon.listed("--state", "delayed")) == 1


def test_a_file_that_is_no_store_is_named(make: Make, tmp_path: Path) -> None:
    """Whatever it is, it is not overwritten."""
    daemon = make({"api": service(tmp_path / "0")})
    path = daemon.state / "queue" / "queue.sqlite"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"precious notes of somebody else\n" * 500)
    refused(daemon, "queue.sqlite")
    assert path.read_bytes() == b"precious notes of somebody else\n" * 500


def test_a_directory_that_cannot_be_made_is_named(make: Make, tmp_path: Path) -> None:
    """A file is in its way."""
    daemon = make({"api": service(tmp_path / "0")})
    daemon.state.write_text("in the way")
    refused(daemon, str(daemon.state))


def test_a_read_only_disk_is_named(make: Make, tmp_path: Path) -> None:
    """Nothing can be written there."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "ro,size=1m", "house-test", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a read-only tmpfs needs root")
    try:
        daemon = make({"api": service(tmp_path / "0")}, state={"directory": str(place / "state")})
        refused(daemon, str(place))
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def test_two_daemons_do_not_share_a_runtime_directory(make: Make, tmp_path: Path) -> None:
    """Different states, one place for sockets: the second is refused."""
    first = make({"api": service(tmp_path / "0")})
    second = make({"api": service(tmp_path / "1")}, state={"runtime_directory": str(first.root / "run")})
    first.start()
    refused(second, str(first.root / "run"))
    first.wait_healthy()


def test_a_socket_path_that_is_too_long_is_named(make: Make, tmp_path: Path) -> None:
    """Unix sockets have short names: one sentence, not a hang or a traceback."""
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    daemon = make({"cat": {"command": ["/bin/cat"]}}, state={"runtime_directory": str(deep)})
    refused(daemon, str(deep), "too long")


def test_foreign_files_in_the_spool_are_swept_and_others_left(make: Make, tmp_path: Path) -> None:
    """What a crash left of a body that nobody refers to goes at the next start."""
    daemon = make({"api": service(tmp_path / "0")})
    daemon.start()
    daemon.kill()
    (daemon.state / "spool").mkdir(exist_ok=True)
    (daemon.state / "spool" / "left-over").write_bytes(b"x" * 1000)
    keepsake = daemon.state / "README"
    keepsake.write_text("the operator's own note")
    daemon.start()
    until(lambda: not list((daemon.state / "spool").iterdir()), what="the spool is swept")
    assert keepsake.exists()
