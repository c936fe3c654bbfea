"""What systemd is told: a datagram socket of our own plays the service manager."""

import os
import secrets
import socket
import time

import pytest
import trio

from faasd_py.daemon import notify
from faasd_py.daemon.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    """A service manager that listens on a path: `(socket, NOTIFY_SOCKET)`."""
    path = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind(path)
        inbox.settimeout(2)
        yield inbox, path


def heard(inbox):
    """Every message that waits, as lists of lines."""
    inbox.setblocking(False)
    messages = []
    while True:
        try:
            messages.append(inbox.recv(4096).decode().split("\n"))
        except BlockingIOError:
            return messages


def test_ready_goes_to_the_path_with_the_status(manager):
    """READY=1 and the status line are one datagram to $NOTIFY_SOCKET."""
    inbox, path = manager
    assert Notifier.from_environment({"NOTIFY_SOCKET": path}).ready("3 functions")
    assert heard(inbox) == [["READY=1", "STATUS=3 functions"]]


def test_abstract_address():
    """An address that begins with @ is an abstract socket's."""
    name = f"faasd-py-test-{secrets.token_hex(8)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as inbox:
        inbox.bind("\0" + name)
        assert Notifier("@" + name).ready()
        assert heard(inbox) == [["READY=1"]]


def test_reload_carries_the_monotonic_time(manager):
    """RELOADING=1 comes with CLOCK_MONOTONIC in microseconds, so that the matching READY=1 can be told from an older one."""
    inbox, path = manager
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Notifier(path).reloading("reading config.toml")
    after = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    [[reloading, moment, status]] = heard(inbox)
    assert (reloading, status) == ("RELOADING=1", "STATUS=reading config.toml")
    assert before <= int(moment.removeprefix("MONOTONIC_USEC=")) <= after


def test_stopping_asks_for_the_time_it_needs(manager):
    """A stop that may take longer than TimeoutStopSec says so, in microseconds."""
    inbox, path = manager
    Notifier(path).stopping("draining", within=90.5)
    Notifier(path).stopping()
    assert heard(inbox) == [["STOPPING=1", "EXTEND_TIMEOUT_USEC=90500000", "STATUS=draining"], ["STOPPING=1"]]


def test_a_status_is_one_line(manager):
    """A line end in a status cannot smuggle in a second assignment."""
    inbox, path = manager
    Notifier(path).ready("waiting\nSTOPPING=1\n 3 calls")
    assert heard(inbox) == [["READY=1", "STATUS=waiting STOPPING=1 3 calls"]]


@pytest.mark.parametrize("environ", [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "vsock:2:1234"}])
def test_outside_systemd_nothing_happens(environ):
    """Without a socket that we know, each message is dropped and nothing is raised."""
    notifier = Notifier.from_environment({**environ, "WATCHDOG_USEC": "1000000"})
    assert not any((notifier.ready(), notifier.reloading(), notifier.stopping(), notifier.ping()))
    assert notifier.watchdog is None


def test_a_manager_that_is_gone_is_logged_only(tmp_path, caplog):
    """A message that cannot be sent is a line in the log, not an error."""
    assert not Notifier(str(tmp_path / "nobody")).ready()
    assert "systemd cannot be told READY=1" in caplog.text


def test_a_manager_that_does_not_read_cannot_stop_us(manager, caplog, monkeypatch):
    """A full inbox holds a message up for a bounded time only."""
    monkeypatch.setattr(notify, "_PATIENCE", 0.02)
    notifier = Notifier(manager[1])
    for _ in range(100_000):
        if not notifier.ping():
            break
    else:
        pytest.fail("the inbox never became full")
    assert "WATCHDOG=1" in caplog.text


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({"WATCHDOG_USEC": "30000000"}, 30.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "77"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": "78"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "often"}, None),
        ({"WATCHDOG_USEC": "-3"}, None),
        ({}, None),
    ],
)
def test_watchdog_interval(environ, seconds):
    """WATCHDOG_USEC counts if WATCHDOG_PID is ours or absent; what is not a positive number means: no watchdog."""
    assert Notifier.from_environment({"NOTIFY_SOCKET": "/x", **environ}, pid=77).watchdog == seconds


def test_own_pid_is_the_default():
    """WATCHDOG_PID is compared with the process that asks."""
    environ = {"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid())}
    assert Notifier.from_environment(environ).watchdog == 1.0


async def test_pings_come_three_times_an_interval(manager, autojump_clock):
    """In thirty seconds with an interval of nine, pings go out at 0, 3, 6, … 30."""
    inbox, path = manager
    with trio.move_on_after(30.5):
        await Notifier(path, 9.0).watch()
    assert heard(inbox) == [["WATCHDOG=1"]] * 11


async def test_without_a_watchdog_the_task_ends(manager):
    """Nobody waits for pings: the task is done at once."""
    with trio.fail_after(1):
        await Notifier(manager[1]).watch()
        await Notifier(None, 1.0).watch()
