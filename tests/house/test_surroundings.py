"""Strange places to be started in: whatever is closed, missing or in the way, calls are served and the stop is clean."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, script, service
from tests.house.patience import until

Make = Callable[..., Daemon]


def functions(root: Path) -> dict:
    """One of each kind."""
    return {
        "api": service(root),
        "tell": script(root, "tell"),
        "fails": script(root, "fail", "1", retry={"attempts": 1}),
        "live": {"command": ["/bin/cat"], "mode": "stream"},
    }


def serves(daemon: Daemon) -> None:
    """Calls of each kind are answered."""
    assert daemon.ask("POST", "/function/tell", b"in").json()["body"] == "in"
    assert daemon.ask("POST", "/function/live", b"through").body == b"through"
    assert daemon.ask("POST", "/function/api/echo", b"there").body == b"there"
    assert daemon.ask("POST", "/function/fails", b"").status == 500
    call = daemon.put("fails")
    daemon.wait_healthy()
    daemon.wait_state(call, "DEAD")


@pytest.mark.parametrize(
    "through",
    [
        'exec "$@" 0<&-',
        'exec "$@" 1>&-',
        'exec "$@" 0<&- 1>&- 2>&-',
        'exec env -i "$@"',
        'umask 0777; exec "$@"',
        'mkdir gone && cd gone && rmdir ../gone && exec "$@"',
        'trap "" HUP TERM INT PIPE CHLD USR1; exec "$@"',
        'ulimit -c 0; ulimit -s 512; exec "$@"',
        'exec 9</dev/null 7</dev/null; exec "$@"',
    ],
)
def test_it_serves_wherever_it_is_started(make: Make, tmp_path: Path, through: str) -> None:
    """Closed standard streams, no environment, a umask that forbids all, no directory, ignored signals, extra descriptors."""
    daemon = make(functions(tmp_path / "0"))
    daemon.start(through=through)
    serves(daemon)
    assert daemon.stop() == 0
    assert daemon.family() == []


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_a_verb_whose_streams_are_closed_does_its_work(make: Make, closed: str) -> None:
    """Exit status 0, nothing is written where it does not belong."""
    command = ["/bin/sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "faasd_py", "version"]
    done = subprocess.run(command, capture_output=True, timeout=20, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_functions_get_no_descriptor_of_a_strange_parent(make: Make, tmp_path: Path) -> None:
    """What the daemon inherited by accident is not passed on."""
    daemon = make(functions(tmp_path / "0"))
    daemon.start(through='exec 9</dev/null 7</dev/null; exec "$@"')
    assert len(daemon.ask("POST", "/function/tell", b"").json()["fds"]) == 4
    pid = daemon.ask("GET", "/function/api/tell").json()["pid"]
    numbers = {int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir()}
    assert not numbers & {7, 9}, "the service has stdin, stdout, stderr and what it opened itself"


def test_a_log_that_nobody_reads_holds_up_nothing(make: Make, tmp_path: Path) -> None:
    """Standard error is a pipe that is full: calls go on, and so does the stop."""
    daemon = make(functions(tmp_path / "0"))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
    try:
        daemon.start(through=f'exec "$@" 2>{fifo}')
        for _ in range(60):
            daemon.ask("POST", "/function/fails", b"")
        serves(daemon)
        assert daemon.stop() == 0
    finally:
        os.close(reader)


def test_a_log_whose_reader_is_gone_ends_nothing(make: Make, tmp_path: Path) -> None:
    """Standard error is a broken pipe: lines are lost, calls are not."""
    daemon = make(functions(tmp_path / "0"))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    daemon.start(through=f'exec "$@" 2>{fifo}')
    os.close(reader)
    serves(daemon)
    assert daemon.stop() == 0


def test_signals_at_bad_moments(make: Make, tmp_path: Path) -> None:
    """A reload in the middle of a stop, and signals that mean nothing, harm nothing."""
    daemon = make(functions(tmp_path / "0"))
    daemon.start()
    for number in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGCONT):
        daemon.send(number)
    serves(daemon)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(daemon.ask, "GET", "/function/api/later/1")
        until(lambda: daemon.ran("/later/1"))
        daemon.send(signal.SIGHUP)
        daemon.send(signal.SIGTERM)
        daemon.send(signal.SIGHUP)
        assert answer.result(20).text == "later\n"
    assert daemon.wait() == 0
    assert daemon.family() == []
    assert "Traceback" not in daemon.log


def test_two_on_one_machine(make: Make, tmp_path: Path) -> None:
    """Each with its own state, ports and functions of the same names; one may call back the other."""
    first, second = make(functions(tmp_path / "0")), make(functions(tmp_path / "1"))
    for daemon in (first, second):
        daemon.start()
    url = f"http://127.0.0.1:{second.port}/function/api/tell/from-the-other"
    first.put("api/echo", b"over there", {"X-Callback-Url": url})
    (ran,) = until(lambda: second.ran("/from-the-other"))
    assert ran["body"] == "over there"
    assert not first.ran('"target": "/tell/from-the-other')
    first.kill()
    serves(second)
