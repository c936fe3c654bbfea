"""What a daemon and its spawn helpers left behind, when both were killed at once: found by the record, and nobody else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from faasd_py.runtime.machinery import open_machinery
from faasd_py.runtime.session import started
from faasd_py.runtime.sessions import Sessions
from tests.house.patience import until

from .places import PYTHON, eventually, shell
from .test_machinery import running, spawned

LEAVES = (
    "import os, subprocess, sys;"
    "print(subprocess.Popen(['/bin/sleep', '1000'], stdout=subprocess.DEVNULL).pid, flush=True);"
    "sys.stdin.read()"
)


@contextmanager
def leader(**environment):
    """A process with a session of its own, and the pid of its child; both have ended afterwards."""
    process = subprocess.Popen(
        [*PYTHON, "-c", LEAVES], stdin=-1, stdout=-1, text=True, start_new_session=True, env=environment
    )
    child = int(process.stdout.readline())
    try:
        yield process, child
    finally:
        for pid in (child, process.pid):
            if running(pid):
                os.kill(pid, signal.SIGKILL)
        process.stdin.close()
        process.stdout.close()
        process.wait()


@pytest.mark.parametrize("mark", [True, False])
def test_a_session_without_its_leader(tmp_path, mark):
    """Functions' processes are killed, those without their mark are not: the number may be another's by now."""
    with leader(**({"OPENFAAS_NAME": "f"} if mark else {})) as (process, child):
        Sessions(tmp_path).note(process.pid)
        process.kill()
        process.wait()
        assert Sessions(tmp_path).end_leftovers() == mark
        assert running(child) is not mark
    assert list(tmp_path.iterdir()) == []


def test_a_helper_that_has_not_ended_yet(tmp_path):
    """Also one that stands still: it goes on, and is killed if that does not end it."""
    with leader(OPENFAAS_NAME="f") as (process, child):
        Sessions(tmp_path).note(process.pid)
        os.kill(process.pid, signal.SIGSTOP)
        process.stdin.close()  # as its daemon's end closes its line
        assert Sessions(tmp_path).end_leftovers() == 1
        assert not running(process.pid)
        assert not running(child)


def test_a_number_that_was_given_to_another(tmp_path):
    """He was started at another time: nothing of his is touched."""
    with leader(OPENFAAS_NAME="f") as (process, child):
        Sessions(tmp_path).note(process.pid)
        record = tmp_path / str(process.pid)
        record.write_text(record.read_text() + "0")
        assert Sessions(tmp_path).end_leftovers() == 0
        assert running(child)
    assert list(tmp_path.iterdir()) == []


def test_records_of_another_boot(tmp_path):
    """Mean nothing, and are removed; what is no record stays."""
    (tmp_path / "notes").write_text("mine")
    with leader(OPENFAAS_NAME="f") as (process, child):
        (tmp_path / str(process.pid)).write_text(f"another {started(process.pid)}")
        assert Sessions(tmp_path).end_leftovers() == 0
        assert running(child)
    assert [path.name for path in tmp_path.iterdir()] == ["notes"]


async def test_the_record_follows_the_helpers(tmp_path):
    """One while it runs; none after a helper died, and none in the end."""
    async with open_machinery(directory=tmp_path) as machinery:
        first = await spawned(machinery, ["/bin/sleep", "1000"])
        await first.running.wait()
        (helper,) = machinery.helpers
        assert [path.name for path in tmp_path.iterdir()] == [str(helper)]
        os.kill(helper, signal.SIGKILL)
        await eventually(lambda: not list(tmp_path.iterdir()))
        await (await spawned(machinery, shell("exec sleep 1000"))).running.wait()
        assert len(list(tmp_path.iterdir())) == 1
    assert list(tmp_path.iterdir()) == []


def test_when_a_process_was_started():
    """As ps(1) sees it: the same whoever asks; none of one that has ended, also while nobody has waited for it."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert started(os.getpid()) == int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
    until(lambda: started(process.pid) is None, what="it is a zombie")
    process.wait()
    assert started(process.pid) is None
