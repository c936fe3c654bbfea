"""Long-lived HTTP functions under the daemon's care: replicas, sleep and waking, readiness, restarts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.house.daemon import Daemon, alive, free_port, seconds, service
from tests.house.patience import until
from tests.house.receivers import Receiver

Start = Callable[..., Daemon]


def pid(daemon: Daemon, name: str = "api") -> int:
    """Which process answers."""
    return int(daemon.ask("GET", f"/function/{name}/tell").json()["pid"])


@pytest.mark.parametrize("unix", [False, True])
def test_it_sleeps_when_idle_and_wakes_with_the_next_call(start: Start, tmp_path: Path, unix: bool) -> None:
    """`replicas.min = 0`: no process before the first call, none after `idle_timeout`, and each call is answered."""
    replicas = {"min": 0, "max": 1}
    daemon = start(
        {"api": service(tmp_path / "0", replicas=replicas, idle_timeout="600ms", unix_socket=unix)}
    )
    quiet = set(daemon.family())
    first = pid(daemon)
    assert first not in quiet
    until(lambda: not alive(first), what="it sleeps")
    second = pid(daemon)
    assert second != first
    call = daemon.put("api/tell/woken")
    until(lambda: daemon.ran(call), what="an asynchronous call wakes it as well")


def test_many_calls_wake_it_once(start: Start, tmp_path: Path) -> None:
    """Twenty calls at the same moment are all answered by the one process that was started for them."""
    daemon = start({"api": service(tmp_path / "0", replicas={"min": 0, "max": 1}, idle_timeout="30s")})
    with ThreadPoolExecutor(20) as pool:
        assert len(set(pool.map(lambda _: pid(daemon), range(20)))) == 1


def test_replicas_share_the_calls(start: Start, tmp_path: Path) -> None:
    """Two processes, both are used; when one is killed the other goes on and a new one comes."""
    daemon = start({"api": service(tmp_path / "0", replicas={"min": 2, "max": 2})})
    with ThreadPoolExecutor(8) as pool:
        both = until(lambda: s if len(s := set(pool.map(lambda _: pid(daemon), range(16)))) == 2 else set())
        gone = min(both)
        os.kill(gone, signal.SIGKILL)
        until(lambda: not alive(gone))
        answers = pool.map(lambda n: daemon.ask("POST", "/function/api/echo", b"%d" % n).status, range(40))
        assert sum(status != 200 for status in answers) <= 8, (
            "at most what was given to it before its end was known"
        )
        until(
            lambda: len(set(pool.map(lambda _: pid(daemon), range(16))) - {gone}) == 2, what="a new one came"
        )


def test_it_is_not_called_before_it_is_ready(start: Start, tmp_path: Path) -> None:
    """With `ready_path`, the first call waits until that answers 2xx."""
    slow = {"STARTS_AFTER": "0.5"}
    daemon = start({"api": service(tmp_path / "0", ready_path="/status/204", environment=slow)})
    assert daemon.ask("GET", "/function/api/tell").status == 200
    assert daemon.ran("/status/204")


def test_one_that_keeps_dying_is_started_with_care(start: Start, tmp_path: Path) -> None:
    """Calls are refused at once or served; the daemon does not spin."""
    daemon = start({"api": service(tmp_path / "0")})
    assert daemon.ask("GET", "/function/api/tell").status == 200
    for _ in range(4):
        daemon.ask("POST", "/function/api/die", b"")
    begun = time.monotonic()
    until(lambda: daemon.ask("GET", "/function/api/tell").status == 200, what="it is up again", within=20)
    assert seconds(begun) < 15
    assert len(daemon.ran("/die")) <= 4


def test_its_output_is_in_the_log_by_line(start: Start, tmp_path: Path) -> None:
    """With the function's name."""
    words = ["/bin/sh", "-c", 'echo "I am up"; echo "and complain" >&2; exec sleep 600']
    daemon = start({"chatty": {"mode": "http", "command": words, "start_timeout": "500ms"}})
    daemon.ask("GET", "/function/chatty")
    until(lambda: "I am up" in daemon.log and "and complain" in daemon.log, what="both lines are there")
    (line,) = [line for line in daemon.log.splitlines() if "and complain" in line][:1]
    assert "chatty" in line


def test_it_gets_only_the_environment_that_it_needs(start: Start, tmp_path: Path) -> None:
    """PORT and what its settings say, nothing of the daemon's own."""
    words = ["/bin/sh", "-c", "env >$OUT; exec sleep 600"]
    out = tmp_path / "environment"
    settings = {"mode": "http", "command": words, "start_timeout": "500ms", "environment": {"OUT": str(out)}}
    daemon = start({"env": settings})
    daemon.ask("GET", "/function/env")
    text = until(lambda: out.exists() and out.read_text(), what="it wrote its environment")
    names = {line.partition("=")[0] for line in text.splitlines()}
    assert {"PORT", "OUT", "PATH"} <= names
    assert "FAASD_PY_CONFIG" not in names


def test_a_stop_lets_a_service_finish_its_answer(start: Start, tmp_path: Path) -> None:
    """SIGTERM to the daemon does not reach the function before its calls are done."""
    daemon = start({"api": service(tmp_path / "0")})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(daemon.ask, "GET", "/function/api/later/1")
        until(lambda: daemon.ran("/later/1"))
        assert daemon.stop() == 0
        assert answer.result(10).text == "later\n"
    assert daemon.family() == []


def test_a_port_that_somebody_else_has_is_not_ours(start: Start, tmp_path: Path) -> None:
    """A fixed port on which a stranger listens: the stranger gets no call, ours is 502 with the reason in the log."""
    stranger = Receiver("127.0.0.1")
    try:
        daemon = start({"api": service(tmp_path / "0", port=stranger.port, start_timeout="1s")})
        answers = [daemon.ask("POST", "/function/api/tell", b"secret").status for _ in range(2)]
        assert set(answers) == {502}
        assert stranger.got == []
    finally:
        stranger.close()
    until(
        lambda: daemon.ask("GET", "/function/api/tell").status == 200, within=20, what="the port is ours now"
    )


def test_a_function_with_a_fixed_port_is_replaced(start: Start, tmp_path: Path) -> None:
    """There is a moment in which nobody listens; afterwards the new one does."""
    daemon = start({"api": service(tmp_path / "0", port=free_port())})
    first = pid(daemon)
    daemon.tables["functions"]["api"]["environment"]["CHANGED"] = "yes"
    daemon.reload()
    until(lambda: "reloaded" in daemon.log)
    second = until(
        lambda: a.json()["pid"] if (a := daemon.ask("GET", "/function/api/tell")).status == 200 else 0
    )
    assert second != first
    assert not alive(first) or until(lambda: not alive(first))


def test_more_processes_for_one_that_uses_the_processor(start: Start, tmp_path: Path) -> None:
    """`com.openfaas.scale.type = cpu`: one more while each uses more than its target; the status tells what is used."""
    scale = {"type": "cpu", "target": "100", "min": "1", "max": "2"}
    labels = {f"com.openfaas.scale.{key}": value for key, value in scale.items()}
    daemon = start({"busy": service(tmp_path / "0", labels=labels)})

    def look() -> dict[str, Any]:
        daemon.ask("POST", "/function/busy/burn")
        return daemon.system("GET", "/system/function/busy?usage=1").json()

    assert look()["usage"]["totalMemoryBytes"] > 1e6
    until(lambda: look()["availableReplicas"] == 2, within=30, what="there are two")
