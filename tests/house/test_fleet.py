"""Replicas that are real processes, in a whole daemon: how many there are, which of them is called, and who takes their place."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.house.daemon import Daemon, alive, free_port, service
from tests.house.fleets import Callers, Fleet
from tests.house.patience import until

Start = Callable[..., Daemon]
MANY = 50


def scale(**labels: str) -> dict[str, str]:
    return {"com.openfaas.scale." + name.replace("_", "-"): text for name, text in labels.items()}


def asked(kind: str, path: str, **more: str) -> dict[str, str]:
    """Annotations of a probe that is quick."""
    given = {"path": path, "periodSeconds": "0.05", "failureThreshold": "2"} | more
    return {f"com.openfaas.{kind}.http.{name}": text for name, text in given.items()}


@pytest.fixture
def fleet(start: Start, tmp_path: Path) -> Callable[..., Fleet]:
    """A daemon whose function `api` has such settings."""

    def make(**settings: Any) -> Fleet:
        return Fleet(start({"api": service(tmp_path / "0", **settings)}), "api", tmp_path / "0")

    return make


# from nothing


@pytest.mark.parametrize("unix", [False, True])
def test_a_hundred_calls_at_once_wake_it_once(fleet: Callable[..., Fleet], unix: bool) -> None:
    """Fifty wait for their answer and fifty are queued: one process is started, and every call is answered by it."""
    labels = scale(zero="true", type="capacity", target="1000", max="3")
    api = fleet(
        replicas={"min": 0, "max": 1}, labels=labels, environment={"STARTS_AFTER": "0.3"}, unix_socket=unix
    )
    assert api.starts == []
    with ThreadPoolExecutor(2 * MANY) as pool:
        answers = [pool.submit(api.call) for _ in range(MANY)]
        calls = [pool.submit(api.put, "version/queued") for _ in range(MANY)]
        assert {answer.result().status for answer in answers} == {200}
    for call in calls:
        assert api.daemon.wait_state(call.result(), "DONE")["status"] == 200
    assert len(api.starts) == 1
    assert len(api.daemon.ran("/version")) == 2 * MANY


def test_it_wakes_to_its_minimum_and_grows_to_its_maximum(fleet: Callable[..., Fleet]) -> None:
    """Asleep with `min = 2`: the first call starts two; fifty at once start two more, and no fifth."""
    api = fleet(labels=scale(min="2", max="4", zero="true", zero_duration="1s"), idle_timeout="60s")
    api.settle(2)
    api.settle(0)
    assert api.call().status == 200
    api.settle(2)
    assert len(api.starts) == 4
    with ThreadPoolExecutor(MANY) as pool:
        answers = [pool.submit(api.call, "hold/go") for _ in range(MANY)]
        until(lambda: len(api.held("go")) == MANY, what="all run")
        api.settle(4)
        api.raise_flag("go")
        assert {answer.result().status for answer in answers} == {200}
    assert len(api.starts) == 6


# ready and well


def test_what_is_unwell_is_replaced_without_a_failed_call(fleet: Callable[..., Fleet]) -> None:
    """Its running call is answered, new ones go to the other, and another takes its place."""
    api = fleet(replicas={"min": 2, "max": 2}, annotations=asked("health", "/flag/sick"))
    api.settle(2)
    with ThreadPoolExecutor(1) as pool, Callers(api, 4) as callers:
        slow = pool.submit(api.call, "hold/go")
        (sick,) = until(lambda: api.held("go"), what="it runs")
        api.raise_flag("sick", sick)
        until(lambda: len(api.starts) == 3, what="another is started")
        until(lambda: api.status["availableReplicas"] == 2, what="two answer again")
        before = len(callers.all)
        callers.each_went_on()
        assert sick not in {pid for _, _, pid in callers.all[before:]}
        assert alive(sick)
        api.raise_flag("go")
        assert slow.result().status == 200
        until(lambda: not alive(sick), what="it ends when its call has")
    callers.fine()
    assert api.settle(2) == set(api.starts) - {sick}
    assert "unwell: /flag/sick answered 503; it is replaced" in api.daemon.log


def test_calls_wait_while_the_only_one_is_replaced(fleet: Callable[..., Fleet]) -> None:
    """Synchronous ones and queued ones."""
    api = fleet(annotations=asked("health", "/flag/sick"))
    (sick,) = api.settle(1)
    with Callers(api, 4) as callers:
        callers.each_went_on()
        api.raise_flag("sick", sick)
        until(lambda: len(api.starts) == 2, what="another is started")
        call = api.put("version/queued")
        until(lambda: callers.pids == set(api.starts), what="it is called")
    callers.fine()
    assert api.daemon.wait_state(call, "DONE")["attempts"] == 1


def test_what_is_not_ready_gets_no_calls(fleet: Callable[..., Fleet]) -> None:
    """One of two, then both, whose callers wait until one is ready again; none is replaced for that."""
    api = fleet(replicas={"min": 2, "max": 2}, annotations=asked("ready", "/flag/busy"))
    one, other = sorted(api.settle(2))
    api.raise_flag("busy", one)
    until(lambda: api.status["availableReplicas"] == 1, what="one is not ready")
    assert {api.call().headers["x-pid"] for _ in range(20)} == {str(other)}
    api.raise_flag("busy", other)
    until(lambda: not api.status.get("availableReplicas"), what="none is ready")
    with ThreadPoolExecutor(10) as pool:
        before = len(api.daemon.ran("/version"))
        answers = [pool.submit(api.call) for _ in range(10)]
        call = api.put("version/queued")
        until(lambda: api.daemon.state_of(call) == "LEASED", what="calls wait")
        assert len(api.daemon.ran("/version")) == before
        api.lower_flag("busy", one)
        assert {answer.result().headers["x-pid"] for answer in answers} == {str(one)}
    assert api.daemon.wait_state(call, "DONE")["status"] == 200
    api.lower_flag("busy", other)
    assert api.settle(2) == {one, other}
    assert len(api.starts) == 2


def test_nobody_is_called_before_he_is_ready(fleet: Callable[..., Fleet]) -> None:
    """A new one that listens, but says that it is not ready, gets nothing, however many calls wait for it."""
    api = fleet(replicas={"min": 0, "max": 2}, ready_path="/flag/busy")
    api.raise_flag("busy")
    with ThreadPoolExecutor(10) as pool:
        answers = [pool.submit(api.call) for _ in range(10)]
        until(lambda: len(api.daemon.ran("/flag/busy")) >= 3, what="it is asked")
        assert api.daemon.ran("/version") == []
        api.lower_flag("busy")
        assert {answer.result().status for answer in answers} == {200}


# killed


def test_one_is_killed_during_its_calls(fleet: Callable[..., Fleet]) -> None:
    """Its synchronous calls are 502, its queued ones are tried again; those of the other go on, and there are two again."""
    api = fleet(replicas={"min": 2, "max": 2}, retry={"min_wait": "10ms", "max_wait": "10ms"})
    api.settle(2)
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(api.call, "hold/go") for _ in range(20)]
        until(lambda: len(api.held("go")) == 20, what="they run")
        calls = [api.put("hold/go") for _ in range(6)]
        until(lambda: len(api.held("go")) == 26, what="the queued ones run")
        gone = min(api.starts)
        theirs = api.held("go").count(gone)
        os.kill(gone, signal.SIGKILL)
        until(lambda: len(api.starts) == 3, what="another is started")
        api.raise_flag("go")
        statuses = [answer.result().status for answer in answers]
        records = [api.daemon.wait_state(call, "DONE") for call in calls]
    assert set(statuses) == {200, 502}
    assert [record["status"] for record in records] == [200] * 6
    again = sum(record["attempts"] - 1 for record in records)
    assert 0 < again < 6
    assert statuses.count(502) + again == theirs
    assert gone not in api.settle(2)
    assert "ended with signal: killed" in api.daemon.log


def test_all_are_killed_again_and_again(fleet: Callable[..., Fleet]) -> None:
    """After each time there are as many as there were, and calls are answered."""
    api = fleet(replicas={"min": 3, "max": 3})
    seen: set[int] = set()
    for _ in range(3):
        there = api.settle(3, within=30)
        assert not there & seen
        seen |= there
        for pid in there:
            os.kill(pid, signal.SIGKILL)
        until(lambda there=there: not there & api.alive, what="they are gone")
    until(lambda: api.call().status == 200, within=30, what="it is called again")
    assert len(api.settle(3, within=30) - seen) == 3


def test_one_hangs(fleet: Callable[..., Fleet]) -> None:
    """It takes connections and answers nothing: what it had is lost, others are called, and another takes its place."""
    probe = asked("health", "/flag/sick", timeoutSeconds="0.2")
    api = fleet(replicas={"min": 2, "max": 2}, annotations=probe, write_timeout="1s", kill_grace="500ms")
    stuck = min(api.settle(2))
    with Callers(api, 4) as callers:
        callers.each_went_on(1)
        os.kill(stuck, signal.SIGSTOP)
        until(lambda: len(api.starts) == 3, what="another is started")
        until(lambda: not alive(stuck), what="it is ended")
        api.settle(2)
        callers.each_went_on(1)
        before = len(callers.all)
        callers.each_went_on()
        assert {status for status, _, _ in callers.all[before:]} == {200}
    assert callers.errors == []
    assert sum(status != 200 for status, _, _ in callers.all) <= 4
    assert "/flag/sick did not answer within 0.2s" in api.daemon.log


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_what_starts_them_is_killed(fleet: Callable[..., Fleet]) -> None:
    """All replicas end with their helper, which counts as one failure; they are there again, and called."""
    api = fleet(replicas={"min": 4, "max": 4}, start_timeout="10s")
    for _ in range(3):
        before = api.settle(4)
        for helper in children(api.daemon.pid):
            os.kill(helper, signal.SIGKILL)
        until(lambda before=before: not before & api.alive, what="they are gone")
        assert api.call().status == 200
    api.settle(4)


# the daemon is killed


@pytest.mark.parametrize("all_at_once", [False, True])
@pytest.mark.parametrize("way", ["port", "fixed", "unix"])
def test_the_daemon_is_killed_with_its_fleet(
    start: Start, tmp_path: Path, way: str, all_at_once: bool
) -> None:
    """The next one finds nobody of the last one's: not a process, not a port, not a socket; accepted calls are run.

    Nor if the helpers were killed at the same moment, which would have ended its functions.
    """
    more: dict[str, dict[str, Any]] = {
        "port": {"replicas": {"min": 3, "max": 3}},
        "fixed": {"port": free_port()},
        "unix": {"unix_socket": True, "replicas": {"min": 3, "max": 3}},
    }
    count = 1 if way == "fixed" else 3
    api = Fleet(start({"api": service(tmp_path / "0", **more[way])}), "api", tmp_path / "0")
    for _ in range(3):
        before = api.settle(count)
        calls = [api.put("version") for _ in range(5)] + [api.put("hold/go")]
        until(lambda: api.held("go"), what="one runs")
        if all_at_once:
            for helper in children(api.daemon.pid):
                api.daemon.send(signal.SIGSTOP)
                os.kill(helper, signal.SIGKILL)
        api.daemon.kill()
        assert not all_at_once or before <= api.alive
        api.raise_flag("go")
        api.daemon.start()
        for call in calls:
            assert api.daemon.wait_state(call, "DONE")["status"] == 200
        assert not api.settle(count) & before
        api.lower_flag("go")
    assert "another process listens" not in api.daemon.log
