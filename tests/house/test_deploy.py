"""Functions deployed over REST, in a whole daemon: called, restored, reloaded, replaced under load, killed in the middle of it."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.house.daemon import FUNCTIONS, PYTHON, Daemon, Settings, running, service
from tests.house.patience import until
from tests.house.wire import Answer, shout, statuses

FORK = {"command": ["$fprocess"]}
NAMESPACE = {"name": "dev", "labels": {"openfaas": "1"}}


def images(root: Path) -> Settings:
    """What images mean: a classic-watchdog without containers, and a service."""
    http = service(root, start_timeout="20s")
    return {"functions/alpine:*": FORK, "acme/service:*": http}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """One for the tests that leave it as it was, but for their own functions."""
    root = tmp_path_factory.mktemp("deploy")
    with running(root, {"own": {"command": ["/bin/cat"]}}, images=images(root)) as one:
        one.wait_healthy()
        assert one.system("POST", "/system/namespace/", NAMESPACE).status == 201
        yield one
        assert one.stop() == 0
        assert "Traceback" not in one.log


def deploy(daemon: Daemon, name: str, process: str = "cat", **more: object) -> Answer:
    """POST, as the OpenFaaS CLI does."""
    body = {"service": name, "image": "functions/alpine:latest", "envProcess": process, **more}
    return daemon.system("POST", "/system/functions", body)


def listed(daemon: Daemon, query: str = "") -> dict[str, Settings]:
    return {one["name"]: one for one in daemon.system("GET", f"/system/functions{query}").json()}


def test_deployed_and_called(daemon: Daemon) -> None:
    """At once after the 202, synchronously and not; its environment is what was sent."""
    assert deploy(daemon, "upper", "tr a-z A-Z").status == 202
    assert daemon.ask("POST", "/function/upper", b"hello").text == "HELLO"
    assert daemon.ask("POST", "/function/upper.openfaas-fn", b"hello").text == "HELLO"
    call = daemon.put("upper", b"later")
    assert daemon.wait_state(call, "DONE")["status"] == 200
    assert deploy(daemon, "env", "env", envVars={"COLOUR": "red"}).status == 202
    assert "COLOUR=red" in daemon.ask("POST", "/function/env").text.splitlines()
    shown = daemon.system("GET", "/system/function/upper").json()
    assert shown["envProcess"] == "tr a-z A-Z"
    assert shown["invocationCount"] == 3
    assert daemon.system("DELETE", "/system/functions", {"functionName": "upper"}).status == 202
    assert daemon.ask("POST", "/function/upper", b"x").status == 404
    assert daemon.ask("POST", "/async-function/upper", b"x").status == 404


def test_hand_written_bytes(daemon: Daemon) -> None:
    """As curl sends them, on a connection that goes on."""
    body = json.dumps({"service": "raw", "image": "functions/alpine", "envProcess": "cat"}).encode()
    post = (
        b"POST /system/functions HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    )
    call = b"POST /function/raw HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"
    answer = shout(daemon.port, post + b"Content-Length: %d\r\n\r\n%b%b" % (len(body), body, call))
    assert statuses(answer) == [202, 200]
    assert answer.endswith(b"hi")


def test_namespaces_are_separate(daemon: Daemon) -> None:
    """The same name in two: two functions, two queues, two lists, each with its own secrets."""
    assert daemon.system("POST", "/system/secrets", {"name": "word", "value": "here"}).status == 201
    there = {"name": "word", "namespace": "dev", "value": "there"}
    assert daemon.system("POST", "/system/secrets", there).status == 201
    for namespace in ("", "dev"):
        read = "/bin/cat /proc/self/environ"
        tell = {"tells": f"{PYTHON[0]} -I -S {FUNCTIONS / 'secret.py'}"}
        assert deploy(daemon, "twin", read, namespace=namespace).status == 202
        assert deploy(daemon, "tells", tell["tells"], namespace=namespace, secrets=["word"]).status == 202
    assert "OPENFAAS_NAMESPACE=openfaas-fn" in daemon.ask("POST", "/function/twin").text
    assert "OPENFAAS_NAMESPACE=dev" in daemon.ask("POST", "/function/twin.dev").text
    assert daemon.ask("POST", "/function/tells").text == "here"
    assert daemon.ask("POST", "/function/tells.dev").text == "there"
    assert set(listed(daemon, "?namespace=dev")) == {"twin", "tells"}
    assert daemon.listed("--function", "twin.dev") == []
    call = daemon.put("twin.dev")
    assert daemon.wait_state(call, "DONE")["function"] == "twin.dev"
    assert daemon.system("DELETE", "/system/namespace/dev", NAMESPACE).status == 409
    assert daemon.system("DELETE", "/system/functions", {"functionName": "twin.dev"}).status == 202
    assert daemon.ask("POST", "/function/twin.dev").status == 404
    assert daemon.ask("POST", "/function/twin").status == 200


def test_what_cannot_run_is_refused(daemon: Daemon) -> None:
    """With the reason; the version before goes on."""
    assert deploy(daemon, "firm", "cat").status == 202
    refused = deploy(daemon, "firm", "no-such-program")
    assert refused.status == 400
    assert refused.text.startswith(
        "function firm.openfaas-fn: command: there is no program 'no-such-program'"
    )
    assert deploy(daemon, "firm", "cat", image="nobody/knows:1").status == 400
    assert daemon.ask("POST", "/function/firm", b"still").text == "still"
    assert deploy(daemon, "own").status == 409
    assert deploy(daemon, "../../etc/x").status == 400


def test_a_service_that_ends_at_once_is_refused(daemon: Daemon) -> None:
    """It never answers: within its start_timeout that is known, and nothing is kept of it."""
    broken = {"mode": "http", "start_timeout": "1s", "command": ["/bin/false"]}
    daemon.tables["images"]["acme/broken:*"] = broken
    before = daemon.log.count("reloaded")
    daemon.reload()
    until(lambda: daemon.log.count("reloaded") > before, what="reloaded")
    refused = deploy(daemon, "dud", image="acme/broken:1")
    assert refused.status == 400
    assert refused.text.startswith("function dud.openfaas-fn: ")
    assert daemon.ask("POST", "/function/dud").status == 404
    assert not list(daemon.state.glob("functions/*/dud*"))


def test_replaced_without_losing_a_call(daemon: Daemon) -> None:
    """While calls come all the time, and one takes long, the service is replaced three times; each is answered 200."""

    def version(number: int) -> int:
        body = {"service": "api", "image": "acme/service:1", "envVars": {"VERSION": str(number)}}
        return daemon.system("POST", "/system/functions", body).status

    assert version(0) == 202
    before = daemon.ask("GET", "/function/api/tell").json()["pid"]
    with ThreadPoolExecutor(6) as pool:
        long = pool.submit(daemon.ask, "POST", "/function/api/later/2", b"")
        waiting = daemon.put("api/later/1")
        until(lambda: len(daemon.ran("/later/")) == 2, what="both run")
        answers = [pool.submit(daemon.ask, "POST", "/function/api/echo", b"%d" % n) for n in range(200)]
        assert [version(number) for number in (1, 2, 3)] == [202] * 3
        assert [answer.result(60).text for answer in answers] == [str(number) for number in range(200)]
        assert long.result(60).text == "later\n"
    assert daemon.wait_state(waiting, "DONE")["attempts"] == 1
    assert daemon.ask("GET", "/function/api/tell").json()["pid"] != before
    until(lambda: before not in daemon.family(), what="the first process is gone")


def test_removed_while_called(daemon: Daemon) -> None:
    """The call that runs is answered; the next one finds nothing."""
    body = {"service": "going", "image": "acme/service:1"}
    assert daemon.system("POST", "/system/functions", body).status == 202
    with ThreadPoolExecutor(1) as pool:
        long = pool.submit(daemon.ask, "POST", "/function/going/later/1.5", b"")
        until(lambda: daemon.ran("/later/1.5"), what="it runs")
        assert daemon.system("DELETE", "/system/functions", {"functionName": "going"}).status == 202
        assert daemon.ask("POST", "/function/going/tell").status == 404
        assert long.result(60).text == "later\n"


def test_scaled(daemon: Daemon) -> None:
    """More processes, fewer, none; kept with the deployment."""
    replicas = {"min": 1, "max": 3}
    daemon.tables["images"]["acme/scaled:*"] = daemon.tables["images"]["acme/service:*"] | {
        "replicas": replicas
    }
    before = daemon.log.count("reloaded")
    daemon.reload()
    until(lambda: daemon.log.count("reloaded") > before, what="reloaded")
    assert (
        daemon.system("POST", "/system/functions", {"service": "big", "image": "acme/scaled"}).status == 202
    )
    asked = {"serviceName": "big", "replicas": 3}
    assert daemon.system("POST", "/system/scale-function/big", asked).status == 202
    until(lambda: listed(daemon)["big"].get("availableReplicas") == 3, within=30, what="three answer")
    (kept,) = daemon.state.glob("functions/openfaas-fn/big.json")
    assert json.loads(kept.read_text())["replicas"] == 3


def test_many_at_once_of_one_function(daemon: Daemon) -> None:
    """Twenty PUTs, POSTs and DELETEs: each is answered as if it were alone, and what is left is one of them, whole."""
    assert deploy(daemon, "fought", "echo 0").status == 202

    def one(number: int) -> int:
        body = {"service": "fought", "image": "functions/alpine:1", "envProcess": f"echo {number}"}
        if number % 4 == 3:
            return daemon.system("DELETE", "/system/functions", {"functionName": "fought"}).status
        return daemon.system("PUT" if number % 2 else "POST", "/system/functions", body).status

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(one, range(1, 21)))
    assert set(answers) <= {202, 404}
    kept = list(daemon.state.glob("functions/openfaas-fn/fought*"))
    shown = daemon.system("GET", "/system/function/fought")
    if shown.status == 404:
        assert kept == []
        assert daemon.ask("POST", "/function/fought").status == 404
    else:
        said = daemon.ask("POST", "/function/fought").text
        assert shown.json()["envProcess"] == f"echo {said.strip()}"
        assert json.loads(kept[0].read_text())["sent"]["envProcess"] == f"echo {said.strip()}"


def test_a_restart_brings_them_back(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """As they were; one whose image nothing runs any more is in trouble, a damaged file is set aside, the rest is served."""
    one = start({}, images=images(tmp_path / "0"))
    one.wait_healthy()
    assert one.system("POST", "/system/namespace/", NAMESPACE).status == 201
    for name in ("a", "b", "c"):
        assert deploy(one, name, f"echo {name}", namespace="dev").status == 202
    assert deploy(one, "api", image="acme/service:1").status == 202
    before = listed(one, "?namespace=*")
    assert one.stop() == 0
    (one.state / "functions/dev/b.json").write_bytes(b'{"name": "b"')
    del one.tables["images"]["acme/service:*"]
    one.write()
    assert "function api.openfaas-fn: image: nothing here runs 'acme/service:1'" in one.cli("check").stderr
    one.start()
    one.wait_healthy()
    assert [one.ask("POST", f"/function/{name}.dev").text for name in ("a", "c")] == ["a\n", "c\n"]
    after = listed(one, "?namespace=*")
    volatile = {"invocationCount"}
    for name in ("a", "c"):
        told = [{k: v for k, v in side[name].items() if k not in volatile} for side in (before, after)]
        assert told[0] == told[1]
    assert "set aside as" in after["b"]["trouble"]
    assert after["api"]["trouble"].startswith("function api.openfaas-fn: image: nothing here runs")
    answer = one.ask("POST", "/function/api")
    assert (answer.status, "nothing here runs" in answer.text) == (502, True)
    assert "b.json is set aside as b.json.damaged" in one.log
    one.tables["images"]["acme/service:*"] = images(tmp_path / "0")["acme/service:*"]
    one.reload()
    until(lambda: one.ask("GET", "/function/api/tell").status == 200, what="its image is back")
    assert deploy(one, "b", "echo anew", namespace="dev").status == 202
    assert one.ask("POST", "/function/b.dev").text == "anew\n"
    rows = one.cli("functions").stdout
    assert "api" in rows
    assert "dev" in rows


def test_a_reload_keeps_them(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """config.toml's win while they are there; a template that changes changes what was deployed from it."""
    one = start({"own": {"command": ["/bin/echo", "own"]}}, images=images(tmp_path / "0"))
    one.wait_healthy()
    assert deploy(one, "f", "echo deployed").status == 202
    functions = one.tables["functions"]
    functions["f"] = {"command": ["/bin/echo", "config"]}
    one.reload()
    until(lambda: one.ask("POST", "/function/f").text == "config\n", what="config.toml's is in force")
    assert "f.openfaas-fn is deployed, but config.toml has it, too" in one.log
    assert deploy(one, "f").status == 409
    del functions["f"]
    one.reload()
    until(lambda: one.ask("POST", "/function/f").text == "deployed\n", what="the deployed one is back")
    one.tables["images"]["functions/alpine:*"] = {"command": ["/bin/echo", "changed:", "$fprocess"]}
    one.reload()
    until(lambda: one.ask("POST", "/function/f").text == "changed: echo deployed\n", what="it is refitted")


class Deployers:
    """Threads that deploy and remove, each its own functions, and know what was acknowledged last."""

    def __init__(self, daemon: Daemon, seed: int) -> None:
        self.daemon, self.seed = daemon, seed
        self.asked: dict[str, int] = {}
        self.settled: dict[str, int] = {}
        """The version that was acknowledged last; 0: removed."""
        self.count = 0
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(3)]

    def work(self, number: int) -> None:
        dice = random.Random(self.seed * 100 + number)
        version = self.seed * 100_000
        while not self.stop.is_set():
            name = f"f{number}-{dice.randrange(3)}"
            version += 1
            gone = dice.random() < 0.2
            self.asked[name] = 0 if gone else version
            try:
                answer = self.remove(name) if gone else deploy(self.daemon, name, f"echo {version}")
            except OSError:
                return
            assert answer.status in {202, 404}, answer
            self.settled[name] = self.asked[name]
            self.count += 1

    def remove(self, name: str) -> Answer:
        return self.daemon.system("DELETE", "/system/functions", {"functionName": name})


def test_killed_in_the_middle_of_deploying(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """What was acknowledged is there; what was not is there whole or not at all; nothing is half-deployed."""
    one = start({}, images={"functions/alpine:*": FORK})
    for seed in range(1, 5):
        one.wait_healthy()
        work = Deployers(one, seed)
        for thread in work.threads:
            thread.start()
        goal = random.Random(seed).randrange(10, 40)
        until(lambda work=work, goal=goal: work.count >= goal, within=30, what="some are acknowledged")
        one.kill()
        work.stop.set()
        for thread in work.threads:
            thread.join(30)
        one.start()
        one.wait_healthy()
        shown = listed(one)
        for name, settled in work.settled.items():
            possible = {settled, work.asked[name]}
            there = int(shown[name]["envProcess"].split()[1]) if name in shown else 0
            assert there in possible, (name, there, possible)
            if there:
                assert one.ask("POST", f"/function/{name}").text == f"{there}\n"
        assert not [function for function in shown.values() if "trouble" in function]
        assert not list(one.state.glob("functions/*/.new-*"))
        assert not list(one.state.glob("functions/*/*.damaged"))
