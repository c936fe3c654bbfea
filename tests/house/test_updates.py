"""A new version of a function whose replicas are real processes: it takes over under load without a failed call, or not at all."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, Settings, alive, service
from tests.house.events import Events
from tests.house.fleets import Callers, Fleet
from tests.house.patience import until
from tests.house.wire import Answer

Deploy = Callable[..., Answer]


class Deployed(Fleet):
    """The function `api`, deployed over REST."""

    def deploy(self, version: str, **more: object) -> Answer:
        body = {"service": self.name, "image": "acme/api:1", "envVars": {"VERSION": version}, **more}
        return self.daemon.system("PUT" if self.starts else "POST", "/system/functions", body)

    @property
    def sent(self) -> Settings:
        """The environment of what is deployed, as the status tells it."""
        return dict(self.status["envVars"])


@pytest.fixture
def api(start: Callable[..., Daemon], tmp_path: Path) -> Iterator[Deployed]:
    """Not deployed yet."""
    images = {"acme/api:*": service(tmp_path / "0", start_timeout="6s", idle_timeout="2s")}
    daemon = start({}, images=images)
    daemon.wait_healthy()
    yield Deployed(daemon, "api", tmp_path / "0")
    assert "ERROR" not in daemon.log


def labels(least: int, most: int) -> dict[str, str]:
    return {"com.openfaas.scale.min": str(least), "com.openfaas.scale.max": str(most)}


def never_ready(status: int = 503) -> dict[str, str]:
    return {
        "com.openfaas.ready.http.path": f"/status/{status}",
        "com.openfaas.ready.http.periodSeconds": "0.05",
    }


def test_a_new_version_takes_over_under_load(api: Deployed) -> None:
    """Slow calls finish in the old processes, which then end; from the PUT's answer on every call is the new one's."""
    assert api.deploy("1", labels=labels(2, 2)).status == 202
    old = api.settle(2)
    with ThreadPoolExecutor(8) as pool, Callers(api, 6) as callers:
        slow = [pool.submit(api.call, "hold/go") for _ in range(6)]
        queued = [api.put("hold/go") for _ in range(2)]
        until(lambda: len(api.held("go")) == 8, what="slow calls run")
        assert set(api.held("go")) == old
        assert api.deploy("2", labels=labels(2, 2)).status == 202
        assert {api.call().text for _ in range(10)} == {"2"}
        callers.each_went_on()
        assert all(alive(pid) for pid in old)
        api.raise_flag("go")
        assert [answer.result().text for answer in slow] == ["1"] * 6
        until(lambda: not old & api.alive, what="the old ones end")
    callers.fine()
    for call in queued:
        assert api.daemon.wait_state(call, "DONE")["attempts"] == 1
    for one in callers.answers:
        versions = [text for _, text, _ in one]
        assert versions == sorted(versions), "nobody sees the old one again"
        assert set(versions) == {"1", "2"}
    assert not old & api.settle(2)


def test_a_new_version_is_as_large_as_the_old_one(api: Deployed) -> None:
    """Grown by its load to four, the old one is replaced by four, all of them ready; then the load decides."""
    assert api.deploy("1", labels=labels(1, 4)).status == 202
    with ThreadPoolExecutor(4) as pool:
        slow = [pool.submit(api.call, "hold/go") for _ in range(4)]
        until(lambda: len(api.held("go")) == 4, what="slow calls run")
        old = api.settle(4)
        assert api.deploy("2", labels=labels(1, 4)).status == 202
        assert api.status["availableReplicas"] == 4
        assert len(api.alive - old) == 4
        api.raise_flag("go")
        assert [answer.result().text for answer in slow] == ["1"] * 4
    api.settle(1)


def test_a_new_version_that_is_not_wholly_ready(api: Deployed) -> None:
    """One of two that never is: after start_timeout the other one is enough."""
    ready = {"com.openfaas.ready.http.path": "/lonely/alone"}
    assert api.deploy("1", labels=labels(2, 2)).status == 202
    old = api.settle(2)
    assert api.deploy("2", labels=labels(2, 2), annotations=ready).status == 202
    assert api.status["availableReplicas"] == 1
    assert api.call().text == "2"
    until(lambda: not old & api.alive, what="the old ones end")


def test_versions_one_after_the_other(api: Deployed) -> None:
    """Ten under load: no failed call, and in the end nothing of the others is left."""
    assert api.deploy("0", labels=labels(1, 3)).status == 202
    with Callers(api, 6) as callers:
        for number in range(1, 10):
            assert api.deploy(str(number), labels=labels(1, 3)).status == 202
            assert api.call().text == str(number)
            callers.each_went_on(1)
    callers.fine()
    last = {pid for _, text, pid in callers.all if text == "9"}
    until(lambda: api.alive >= last and len(api.alive) <= 3, what="the others end")


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"annotations": never_ready()}, "/status/503 answered 503"),
        ({"annotations": never_ready(404)}, "/status/404 answered 404"),
        (
            {"envVars": {"VERSION": "2", "STARTS_AFTER": "60"}},
            "not ready within 6s: cannot connect to 127.0.0.1:",
        ),
        (
            {"envVars": {"VERSION": "2", "STARTS_AFTER": "soon"}},
            "ended with exit status 1",
        ),
    ],
    ids=["unready", "no-such-path", "too-slow", "crashes"],
)
def test_a_version_that_is_never_ready_is_refused(
    api: Deployed, more: dict[str, object], reason: str
) -> None:
    """The answer says why; the old one serves all the time, is what the status tells, and is what a restart brings back."""
    assert api.deploy("1", labels=labels(2, 2)).status == 202
    old = api.settle(2)
    with Callers(api, 4) as callers:
        refused = api.deploy("2", labels=labels(2, 2), **more)
        assert (refused.status, reason in refused.text) == (400, True), refused
        assert refused.text.startswith("function api.openfaas-fn: ")
        callers.each_went_on()
    callers.fine()
    assert callers.pids <= old
    assert api.sent == {"VERSION": "1"}
    assert api.settle(2) == old
    assert f"api.openfaas-fn is not updated: {refused.text.strip()}" in api.daemon.log
    api.daemon.restart()
    assert api.call().text == "1"


def test_a_refused_version_does_not_wait_for_the_slow_calls_of_the_old_one(api: Deployed) -> None:
    """Nor does it end them; the next good version does as ever."""
    assert api.deploy("1").status == 202
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(api.call, "hold/go")
        until(lambda: api.held("go"), what="it runs")
        assert api.deploy("2", annotations=never_ready()).status == 400
        assert api.deploy("3").status == 202
        assert api.call().text == "3"
        api.raise_flag("go")
        assert slow.result().text == "1"
    assert len(api.settle(1)) == 1


def test_removed_and_deployed_again_while_it_drains(api: Deployed) -> None:
    """The call that runs is answered by the process that had it."""
    assert api.deploy("1").status == 202
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(api.call, "hold/go")
        until(lambda: api.held("go"), what="it runs")
        assert api.daemon.system("DELETE", "/system/functions", {"functionName": "api"}).status == 202
        assert api.call().status == 404
        body = {"service": "api", "image": "acme/api:1", "envVars": {"VERSION": "2"}}
        assert api.daemon.system("POST", "/system/functions", body).status == 202
        assert api.call().text == "2"
        api.raise_flag("go")
        assert slow.result().text == "1"
    api.settle(1)


def test_what_happens_is_told(api: Deployed) -> None:
    """Deployed, updated, a replica that ends and the next one: each is an event of its own, in this order."""
    with Events(api.daemon) as events:

        def told(*kinds: str) -> list[str]:
            """The facts besides, of the next ones of the function."""
            found = [events.next() or {} for _ in kinds]
            assert [one["event"] for one in found] == list(kinds)
            assert {one["function"] for one in found} == {"api.openfaas-fn"}
            return [one.get("instance", one.get("image", "")) for one in found]

        assert api.deploy("1").status == 202
        first, image = told("function.ready", "function.deployed")
        assert image == "acme/api:1"
        assert api.deploy("2").status == 202
        second, image = told("function.ready", "function.updated")
        assert (image, first == second) == ("acme/api:1", False)
        (alive_one,) = api.settle(1)
        os.kill(alive_one, signal.SIGKILL)
        ended, third = told("function.crashed", "function.ready")
        assert (ended, third == second) == (second, False)


def test_a_reload_under_load(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """config.toml's function, grown to three: replaced by three without a failed call, each seeing the versions in order."""
    given = service(tmp_path / "0", labels=labels(1, 3), idle_timeout="2s", environment={"VERSION": "1"})
    one = Fleet(start({"api": given}), "api", tmp_path / "0")
    with ThreadPoolExecutor(3) as pool, Callers(one, 4) as callers:
        slow = [pool.submit(one.call, "hold/go") for _ in range(3)]
        until(lambda: len(one.held("go")) == 3, what="slow calls run")
        until(lambda: one.status["availableReplicas"] == 3, what="it has grown")
        old = one.alive
        one.daemon.tables["functions"]["api"]["environment"]["VERSION"] = "2"
        one.daemon.reload()
        until(lambda: any(text == "2" for _, text, _ in list(callers.all)), what="the new version answers")
        assert len(one.alive - old) == 3
        callers.each_went_on()
        one.raise_flag("go")
        assert [answer.result().text for answer in slow] == ["1"] * 3
        until(lambda: not old & one.alive, what="the old ones end")
    callers.fine()
    for answers in callers.answers:
        versions = [text for _, text, _ in answers]
        assert versions == sorted(versions)
