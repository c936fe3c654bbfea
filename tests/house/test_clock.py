"""Boxes without a clock of their own: the wall clock jumps, and what runs or waits does not suffer for it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, script, service
from tests.house.patience import until

DAY = 86_400
Make = Callable[..., Daemon]


@pytest.fixture
def daemon(make: Make, tmp_path: Path) -> Daemon:
    """A daemon whose wall clock `jump` sets."""
    root = tmp_path / "0"
    functions = {
        "api": service(root, retry={"attempts": 3, "min_wait": "10ms", "max_wait": "20ms"}),
        "one": service(root, max_inflight=1),
        "sleeps": script(root, "sleep", exec_timeout="5s"),
    }
    one = make(functions)
    one.surroundings = {
        "PYTHONPATH": str(Path(__file__).with_name("clock")),
        "CLOCK_OFFSET": str(root / "offset"),
    }
    return one


def jump(daemon: Daemon, seconds: int) -> None:
    """Set the daemon's wall clock so far off, in one step."""
    new = daemon.root / "offset.new"
    new.write_text(str(seconds))
    os.replace(new, daemon.root / "offset")  # noqa: PTH105


@pytest.mark.parametrize("seconds", [DAY, -DAY])
def test_a_jump_cuts_no_running_call(daemon: Daemon, seconds: int) -> None:
    """Time limits are not measured by the wall clock: neither kind of call is timed out, none is run twice."""
    daemon.start()
    call = daemon.put("sleeps", b"1.5")
    until(lambda: daemon.ran(call), what="it runs")
    jump(daemon, seconds)
    assert daemon.ask("POST", "/function/sleeps", b"0.5").text == "slept\n"
    daemon.wait_healthy()
    shown = daemon.wait_state(call, "DONE")
    assert shown["attempts"] == 1
    assert 0 < shown["history"][0]["duration"] < 60
    assert len(daemon.ran(call)) == 1


def test_a_jump_forward_makes_delayed_calls_due(daemon: Daemon) -> None:
    """Their time has come by the wall clock, which is what they asked for."""
    daemon.start()
    call = daemon.put("api/tell/delayed", b"", {"X-Delay": "1h"})
    later = daemon.put("api/tell/later", b"", {"X-Delay": "72h"})
    jump(daemon, DAY)
    until(lambda: daemon.ran(call), what="it runs")
    assert not daemon.ran(later)


def test_a_jump_back_stops_nothing(daemon: Daemon) -> None:
    """New calls run in their order, retries and delays count from the time that it is now, ids go on growing."""
    daemon.start()
    before = [daemon.put(f"one/tell/c{n:02}") for n in range(5)]
    jump(daemon, -DAY)
    after = [daemon.put(f"one/tell/c{n:02}") for n in range(5, 10)]
    delayed = daemon.put("api/tell/after-a-second", b"", {"X-Delay": "1s"})
    retried = daemon.put("api/fail/2/back")
    until(lambda: len(daemon.ran("/tell/c")) == 10, what="all of them ran")
    assert [line["call"] for line in daemon.ran("/tell/c")] == before + after == sorted(before + after)
    until(lambda: daemon.ran(delayed) and len(daemon.ran(retried)) == 3, what="delay and retries")


def test_a_start_in_the_past_serves_what_waits(daemon: Daemon) -> None:
    """Killed today, started with a clock that stands in the year before: what was accepted runs, new calls too."""
    daemon.start()
    gate = daemon.put("one/gate/shut")
    waiting = [daemon.put(f"one/tell/w{n}") for n in range(3)]
    until(lambda: daemon.ran(gate), what="one is running")
    daemon.kill()
    jump(daemon, -365 * DAY)
    daemon.start()
    new = daemon.put("api/tell/new")
    until(lambda: daemon.ran(new), what="a new call runs")
    assert daemon.ask("GET", "/function/one/open/shut").status == 200
    until(lambda: all(daemon.ran(call) for call in waiting), what="the old ones run")
    assert daemon.stop() == 0


def test_expiry_and_keys_go_by_the_wall_clock(daemon: Daemon) -> None:
    """A day later a maximum age is over, and an idempotency key is free again."""
    daemon.start()
    key = {"Idempotency-Key": "daily"}
    first = daemon.put("api/tell/daily", b"", key)
    old = daemon.put("api/tell/too-old", b"", {"X-Delay": "2h", "X-Max-Age": "3h"})
    jump(daemon, DAY + 60)
    daemon.wait_healthy()
    assert daemon.wait_state(old, "DEAD")["reason"] == "expired"
    assert daemon.put("api/tell/daily", b"", key) != first
    assert not daemon.ran("/tell/too-old")
