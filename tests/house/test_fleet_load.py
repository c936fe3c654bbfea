"""Replicas that are real processes follow their load: up to max, down to min, to none, and back."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.house.daemon import Daemon, service
from tests.house.fleets import Callers, Fleet
from tests.house.patience import until


def scale(**labels: str) -> dict[str, str]:
    return {"com.openfaas.scale." + name.replace("_", "-"): text for name, text in labels.items()}


@pytest.fixture
def fleet(start: Callable[..., Daemon], tmp_path: Path) -> Callable[..., Fleet]:
    """A daemon whose function `api` has such labels; what is not needed is kept for a second."""

    def make(labels: dict[str, str], place: str = "", **settings: Any) -> Fleet:
        root = tmp_path / (place or "0")
        if place:
            root.mkdir()
        one = service(root, **{"labels": labels, "idle_timeout": "1s", **settings})
        return Fleet(start({"api": one}), "api", root)

    return make


def test_calls_in_flight(fleet: Callable[..., Fleet]) -> None:
    """With a target of 2 (all of it): as many as every second call needs, three at most; then one, then none, then one again."""
    target = {"type": "capacity", "target": "2", "target_proportion": "1"}
    api = fleet(scale(**target, min="1", max="3", zero="true", zero_duration="2s"))
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(api.call, "hold/first") for _ in range(2)]
        until(lambda: len(api.held("first")) == 2, what="two run")
        assert len(api.starts) == 1
        answers += [pool.submit(api.call, "hold/first")]
        until(lambda: len(api.held("first")) == 3, what="three run")
        api.settle(2)
        answers += [pool.submit(api.call, "hold/second") for _ in range(12)]
        until(lambda: len(api.held("second")) == 12, what="all run")
        api.settle(3)
        api.raise_flag("first")
        api.raise_flag("second")
        assert {answer.result().status for answer in answers} == {200}
    api.settle(1)
    api.settle(0)
    assert len(api.starts) == 3, "the oldest stayed"
    assert api.call().status == 200
    api.settle(1)


def test_calls_a_second(fleet: Callable[..., Fleet]) -> None:
    """More than the target for a while: up to max, not a call fails; then back to min."""
    api = fleet(scale(type="rps", target="5", min="1", max="3"))
    api.settle(1)
    with Callers(api, 3) as callers:
        api.settle(3)
        callers.each_went_on()
    callers.fine()
    api.settle(1)
    assert len(api.starts) == 3


def test_processor_time(fleet: Callable[..., Fleet]) -> None:
    """As long as it is used: up to max; then back to min."""
    api = fleet(scale(type="cpu", target="100", min="1", max="2"))
    with Callers(api, 1, "burn") as callers:
        api.settle(2, within=40)
    callers.fine()
    api.settle(1, within=40)


def test_nobody_is_ended_with_a_call(fleet: Callable[..., Fleet]) -> None:
    """Scaled down by hand, and asleep at once: what runs is answered first, and what comes meanwhile wakes it."""
    api = fleet(scale(min="1", max="3", zero="true", zero_duration="60s"))
    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(api.call, "hold/go") for _ in range(3)]
        until(lambda: len(set(api.held("go"))) == 3 or len(api.held("go")) == 3, what="they run")
        body = {"serviceName": "api", "replicas": 0}
        assert api.daemon.system("POST", "/system/scale-function/api", body).status == 202
        busy = set(api.held("go"))
        assert api.call().status == 200
        assert busy <= api.alive
        api.raise_flag("go")
        assert {answer.result().status for answer in answers} == {200}
    until(lambda: not busy & api.alive, what="they end")
    api.settle(1)


def state(pid: int) -> str:
    """S: it sleeps, T: it is stopped (proc(5)); nothing: it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return ""


@pytest.mark.parametrize("confined", [False, True])
def test_asleep_it_stands_still(fleet: Callable[..., Fleet], confined: bool) -> None:
    """With `sleep = "pause"`: those of min do, and no other; fifty calls at once are answered by them; a stop ends them."""
    limits = {"limits": {"cpu": 1, "best_effort": True}, "place": "not-the-daemons"}
    more: dict[str, Any] = limits if confined else {}
    api = fleet(scale(min="2", max="4", zero="true", zero_duration="1s"), sleep="pause", **more)
    stay = api.settle(2)
    for _ in range(2):
        with ThreadPoolExecutor(50) as pool:
            until(lambda: {state(pid) for pid in api.alive} == {"T"}, what="they stand still")
            assert api.alive == stay
            calls = [api.put("version") for _ in range(5)]
            answers = list(pool.map(lambda _: api.call(), range(50)))
        assert {answer.status for answer in answers} == {200}
        assert {api.daemon.wait_state(call, "DONE")["status"] for call in calls} == {200}
        until(lambda: api.alive == stay, what="those over min end")
    until(lambda: {state(pid) for pid in api.alive} == {"T"}, what="they stand still")
    assert api.daemon.stop() == 0
    assert api.daemon.family() == []


def test_killed_while_it_stands_still(fleet: Callable[..., Fleet]) -> None:
    """The daemon, with kill -9: nothing of it is left to the next one."""
    api = fleet(scale(min="1", zero="true", zero_duration="100ms"), sleep="pause")
    before = int(api.call().headers["x-pid"])
    until(lambda: state(before) == "T", what="it stands still")
    api.daemon.kill()
    api.daemon.start()
    assert api.call().status == 200
    assert before not in api.alive


def test_to_none_and_back_while_calls_come_now_and_then(fleet: Callable[..., Fleet]) -> None:
    """Each comes at another moment of its falling asleep: all are answered."""
    api = fleet(scale(min="1", max="1", zero="true", zero_duration="50ms"))
    for number in range(40):
        time.sleep(0.05 + number % 10 * 0.01)
        assert api.call().status == 200
    assert len(api.starts) > 2, "it slept"


def alert(api: Fleet, status: str) -> None:
    """What Alertmanager sends of the function."""
    body = {"status": status, "alerts": [{"status": status, "labels": {"function_name": api.name}}]}
    answer = api.daemon.system("POST", "/system/alert", body)
    assert (answer.status, answer.text) == (200, "")


def test_an_alert(fleet: Callable[..., Fleet]) -> None:
    """Half of the most with each one that fires, up to the most; the fewest when it is over. The metrics say the same labels."""
    api = fleet(scale(min="1", max="3", factor="50", target="50"), idle_timeout="1m")
    first = api.settle(1)
    page = api.daemon.ask("GET", "/metrics").text
    assert f'gateway_service_min{{function_name="{api.name}.openfaas-fn"}} 1.0' in page
    assert f'gateway_service_target{{function_name="{api.name}.openfaas-fn"}} 50.0' in page
    alert(api, "firing")
    three = api.settle(3)
    alert(api, "firing")
    assert api.call().status == 200
    assert api.settle(3) == three
    alert(api, "resolved")
    assert api.settle(1) == first
    assert len(api.starts) == 3


def test_an_alert_and_a_function_that_sleeps(fleet: Callable[..., Fleet]) -> None:
    """One that fires wakes it, and one that is over puts it to sleep again; the next call wakes it as ever."""
    api = fleet(scale(min="0", max="2"), idle_timeout="1m")
    alert(api, "firing")
    api.settle(1)
    alert(api, "resolved")
    api.settle(0)
    assert api.call().status == 200
    api.settle(1)
