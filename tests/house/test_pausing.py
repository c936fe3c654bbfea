"""An operator pauses the calls of a function: whatever happens meanwhile, none begins until he says so."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, service
from tests.house.patience import until
from tests.house.receivers import Receiver


def lane(daemon: Daemon, name: str) -> dict[str, object]:
    lanes = {one["name"]: one for one in daemon.system("GET", "/system/queue").json()["lanes"]}
    return lanes.get(name, {})


@pytest.mark.parametrize("backend", ["sqlite", "memory"])
def test_paused_and_resumed(start: Callable[..., Daemon], tmp_path: Path, backend: str) -> None:
    """Calls are accepted and wait, others go on; figures, metrics and the command line show it."""
    daemon = start({"api": service(tmp_path), "other": service(tmp_path)}, queue={"backend": backend})
    daemon.wait_healthy()
    assert daemon.system("POST", "/system/queue/api/pause").json() == {
        "function": "api.openfaas-fn",
        "paused": True,
    }
    calls = [daemon.put("api/echo", b"x") for _ in range(3)]
    daemon.wait_state(daemon.put("other/echo"), "DONE")
    shown = lane(daemon, "api.openfaas-fn")
    assert (shown["ready"], shown["leased"]) == (3, 0)
    assert "paused_at" in shown
    assert shown["accepted_per_second"] > 0
    assert lane(daemon, "other.openfaas-fn")["finished_per_second"] > 0
    page = daemon.ask("GET", "/metrics").text
    assert 'faasd_lane_paused{function_name="api.openfaas-fn"} 1.0' in page
    assert "other.openfaas-fn" not in page.partition("faasd_lane_paused{")[2].partition("\n")[0]
    table = daemon.cli("queue").stdout.splitlines()
    assert table[0].split()[:2] == ["LANE", "READY"]
    assert next(line for line in table if line.startswith("api."))[-1] == "Z"
    assert daemon.cli("queue", "resume", "api").stdout == "api.openfaas-fn is going on\n"
    for call in calls:
        daemon.wait_state(call, "DONE")
    assert "paused_at" not in lane(daemon, "api.openfaas-fn")
    assert "faasd_lane_paused{" not in daemon.ask("GET", "/metrics").text


def test_it_survives_kill_9(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """The answer to the pause is a promise."""
    daemon = start({"api": service(tmp_path)})
    daemon.wait_healthy()
    assert daemon.cli("queue", "pause", "api", "--json").returncode == 0
    daemon.kill()
    daemon.start()
    daemon.wait_healthy()
    call = daemon.put("api/echo")
    marker = daemon.put("api/echo", b"", {"X-Delay": "100ms"})
    daemon.wait_state(marker, "READY")
    assert daemon.state_of(call) == "READY"
    assert daemon.system("POST", "/system/queue/api.openfaas-fn/resume").status == 200
    daemon.wait_state(call, "DONE")
    daemon.restart()
    daemon.wait_state(daemon.put("api/echo"), "DONE")


def test_what_runs_is_finished(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """And a resume while it runs does not wait for it."""
    daemon = start({"api": service(tmp_path, max_inflight=2)})
    daemon.wait_healthy()
    running = daemon.put("api/gate/a")
    daemon.wait_state(running, "LEASED")
    assert daemon.system("POST", "/system/queue/api/pause").status == 200
    waiting = daemon.put("api/echo")
    assert daemon.system("POST", "/system/queue/api/resume").status == 200
    daemon.wait_state(waiting, "DONE")
    assert daemon.state_of(running) == "LEASED"
    assert daemon.ask("GET", "/function/api/open/a").status == 200
    daemon.wait_state(running, "DONE")


def test_callbacks_can_be_paused(start: Callable[..., Daemon], tmp_path: Path, hook: Receiver) -> None:
    """A receiver who asks for quiet; the call shows how its callback stands."""
    daemon = start({"api": service(tmp_path)})
    daemon.wait_healthy()
    first = daemon.put("api/echo", b"1", {"X-Callback-Url": hook.url()})
    hook.wait()
    receiver = f"callback:{hook.host}:{hook.port}"
    until(lambda: state_of_callback(daemon, first) == "delivered", what="it is delivered")
    assert daemon.system("POST", f"/system/queue/{receiver}/pause").status == 200
    second = daemon.put("api/echo", b"2", {"X-Callback-Url": hook.url()})
    daemon.wait_state(second, "DONE")
    assert state_of_callback(daemon, second) == "waiting"
    assert len(hook.got) == 1
    assert daemon.system("POST", f"/system/queue/{receiver}/resume").status == 200
    until(lambda: state_of_callback(daemon, second) == "delivered", what="it is delivered")


def state_of_callback(daemon: Daemon, call: str) -> str:
    return daemon.system("GET", f"/system/calls/{call}").json().get("callback", {}).get("state", "")


def test_a_callback_that_is_dead(start: Callable[..., Daemon], tmp_path: Path, hook: Receiver) -> None:
    """With the receiver's last status, its attempts, the reason; its own id leads to it."""
    hook.answers(503)
    daemon = start({"api": service(tmp_path)}, callback={"schedule": ["10ms"]})
    daemon.wait_healthy()
    call = daemon.put("api/echo", b"", {"X-Callback-Url": hook.url(), "X-Call-Id": "mine"})
    until(lambda: state_of_callback(daemon, call) == "dead", what="it is dead")
    shown = daemon.system("GET", "/system/calls/mine").json()
    assert shown["id"] == call
    found = shown["callback"]
    assert (found["status"], found["attempts"], found["reason"]) == (503, 2, "callback")
    own = daemon.system("GET", f"/system/calls/{found['id']}").json()
    assert (own["state"], own["function"]) == ("dead", f"callback:{hook.host}:{hook.port}")
    assert hook.got[0].headers["x-call-id"] == "mine"


def test_lanes_that_are_none(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """404 for what is unknown, 400 for what is no name."""
    daemon = start({"api": service(tmp_path)})
    daemon.wait_healthy()
    assert daemon.system("POST", "/system/queue/nobody/pause").status == 404
    assert daemon.system("POST", "/system/queue/callback:nobody:1/pause").status == 404
    assert daemon.system("POST", "/system/queue/a%20b/pause").status == 400
    assert daemon.system("GET", "/system/queue/api/pause").status == 405
    assert daemon.cli("queue", "pause", "nobody").returncode == 1


def test_the_command_line_follows_a_call(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """Waits for it, prints its answer, and tells what happened."""
    daemon = start({"api": service(tmp_path, retry={"attempts": 1})})
    daemon.wait_healthy()
    words = [sys.executable, "-m", "faasd_py", "events", "--json", "--event", "call.done"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, env=daemon.environment, cwd=daemon.root) as follower:
        assert follower.stdout is not None
        call = daemon.put("api/later/0.5", b"")
        waited = daemon.cli("calls", "wait", call, "--timeout", "30s")
        assert (waited.returncode, waited.stdout) == (0, "done 200\n")
        assert daemon.cli("calls", "result", call).stdout == "later\n"
        for _ in range(200):  # it may have begun to listen later than that one was done
            daemon.wait_state(daemon.put("api/echo"), "DONE")
            if follower.stdout.peek(1):
                break
        assert json.loads(follower.stdout.readline())["event"] == "call.done"
        follower.terminate()
    dead = daemon.put("api/status/500")
    assert daemon.cli("calls", "wait", dead).stdout == "dead 500 (attempts)\n"
    assert daemon.cli("calls", "wait", dead).returncode == 1
    late = daemon.put("api/echo", b"", {"X-Delay": "1h"})
    waited = daemon.cli("calls", "wait", late, "--timeout", "100ms")
    assert waited.returncode == 1
    assert "is not over after 100ms: it is delayed" in waited.stderr
    assert daemon.cli("calls", "wait", late, "--timeout", "soon").returncode == 2
    assert daemon.cli("calls", "wait", "nobody").returncode == 1


# promised elsewhere


def test_a_local_callback_has_the_functions_time(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """`callback.timeout` is for others: our own function takes as long as its exec_timeout lets it."""
    daemon = start({"api": service(tmp_path / "0")}, callback={"timeout": "100ms", "schedule": ["10ms"]})
    call = daemon.put(
        "api/echo", b"x", {"X-Callback-Url": f"http://127.0.0.1:{daemon.port}/function/api/later/1"}
    )
    until(lambda: state_of_callback(daemon, call) == "delivered", what="it is delivered")
    assert [one["target"] for one in daemon.ran()] == ["/echo", "/later/1"]


def test_max_inflight_counts_synchronous_and_asynchronous_calls_apart(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    """As many of each run side by side; one more synchronous call is 429, one more asynchronous waits."""
    daemon = start({"api": service(tmp_path / "0", max_inflight=1)})
    daemon.wait_healthy()
    running = daemon.put("api/gate/a")
    daemon.wait_state(running, "LEASED")
    waiting = daemon.put("api/echo")
    with ThreadPoolExecutor(1) as pool:
        beside = pool.submit(daemon.ask, "GET", "/function/api/gate/b")
        until(lambda: daemon.ran("/gate/b"), what="a synchronous call runs beside")
        assert daemon.ask("GET", "/function/api/echo").status == 429
        assert daemon.state_of(waiting) == "READY"
        assert daemon.system("POST", f"/system/calls/{running}/cancel").status == 200
        daemon.wait_state(waiting, "DONE")
        assert daemon.put("api/open/b")
        assert beside.result(30).status == 200
