"""One daemon per state directory, between real processes."""

import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager

import pytest

from faasd_py.core.errors import BootError
from faasd_py.daemon.lock import locked

HOLD = """
import sys
from pathlib import Path
from faasd_py.daemon.lock import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(directory):
    """Another process that holds the directory; ends when its stdin does."""
    command = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout.readline() == b"held\n"
            yield process
        finally:
            process.stdin.close()
            process.wait(10)


def test_the_directory_is_made_private(tmp_path):
    """A missing directory is made, for nobody else to read, and the lock file has our pid."""
    directory = tmp_path / "a" / "state"
    with locked(directory):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert (directory / "lock").read_text() == f"{os.getpid()}\n"
        assert stat.S_IMODE((directory / "lock").stat().st_mode) == 0o600


def test_a_second_daemon_is_told_who_is_there(tmp_path):
    """The message names the directory and the pid of the daemon that runs."""
    with (
        holder(tmp_path) as other,
        pytest.raises(BootError, match=rf"^{tmp_path}: in use by another daemon \(pid {other.pid}\)$"),
        locked(tmp_path),
    ):
        pytest.fail("held twice")


def test_within_one_process_too(tmp_path):
    """The lock is the open file's: the same process cannot take it twice."""
    with locked(tmp_path), pytest.raises(BootError, match=f"pid {os.getpid()}"), locked(tmp_path):
        pytest.fail("held twice")


def test_after_a_kill_the_directory_is_free(tmp_path):
    """A kill -9 leaves the file and no lock; the next daemon writes its own pid, also over a longer text."""
    with holder(tmp_path) as other:
        other.send_signal(signal.SIGKILL)
        other.wait(10)
        (tmp_path / "lock").write_text("12345678901234\n")
        with locked(tmp_path):
            assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


def test_leaving_frees_it_and_keeps_the_file(tmp_path):
    """The file is never removed: two daemons could hold two files of one name."""
    with locked(tmp_path):
        made = (tmp_path / "lock").stat().st_ino
    assert (tmp_path / "lock").stat().st_ino == made
    with holder(tmp_path):
        pass


def test_children_do_not_inherit_it(tmp_path):
    """A program that the daemon started holds nothing after the daemon is gone."""
    with locked(tmp_path):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with locked(tmp_path):
            pass
    finally:
        child.kill()
        child.wait(10)


def test_no_pid_yet(tmp_path):
    """In the moment before the other has written its pid, the sentence goes without."""
    with locked(tmp_path):
        (tmp_path / "lock").write_text("")
        with pytest.raises(BootError, match=r"in use by another daemon$"), locked(tmp_path):
            pytest.fail("held twice")


def test_a_directory_that_cannot_be(tmp_path):
    """A file in the directory's place is one sentence with the path."""
    (tmp_path / "state").write_text("")
    with (
        pytest.raises(BootError, match=rf"{tmp_path}/state.*: cannot be used: "),
        locked(tmp_path / "state"),
    ):
        pytest.fail("held")
