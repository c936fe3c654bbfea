"""What is kept of a finished call, how much, and for how long."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, running, script, service
from tests.house.patience import until
from tests.house.receivers import Receiver

Start = Callable[..., Daemon]
ONCE = {"attempts": 1}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("results")
    functions = {"api": service(root, retry=ONCE), "bytes": script(root, "bytes-out")}
    with running(root, functions, queue={"max_result": "64KiB"}) as one:
        one.wait_healthy()
        yield one


def test_answer_and_headers_are_kept(daemon: Daemon) -> None:
    """Status, end-to-end headers and the body, byte by byte; also after a restart."""
    call = daemon.put("bytes")
    daemon.wait_state(call, "DONE")
    daemon.restart()
    daemon.wait_healthy()
    shown = json.loads(daemon.cli("calls", "show", call, "--result", "--json").stdout)
    assert (shown["status"], shown["size"], shown["complete"]) == (200, 256, True)
    assert "content-type" in {name.lower() for name, _ in shown["headers"]}


def test_a_large_answer_keeps_status_and_headers_only(daemon: Daemon) -> None:
    """Its size is known; its body is not kept, and who asks for it is told so in one sentence."""
    call = daemon.put("api/big/100000")
    daemon.wait_state(call, "DONE")
    shown = json.loads(daemon.cli("calls", "show", call, "--result", "--json").stdout)
    assert (shown["status"], shown["size"], shown["complete"]) == (200, 100_000, False)
    asked = daemon.cli("calls", "show", call, "--result")
    assert asked.returncode == 1
    assert asked.stdout == ""
    assert asked.stderr.count("\n") == 1
    assert daemon.spooled() == []


def test_the_request_of_a_dead_call_is_kept_whole(daemon: Daemon) -> None:
    """A body of several hundred kilobytes, for a requeue; a purge removes its file."""
    body = b"0123456789" * 60_000
    call = daemon.put("api/status/500", body)
    daemon.wait_state(call, "DEAD")
    assert daemon.cli("calls", "show", call, "--request").stdout.encode() == body
    assert daemon.cli("calls", "requeue", call).returncode == 0
    until(lambda: len(daemon.ran('"size": 600000')) == 2, what="it ran again with its body")
    daemon.wait_state(call, "DEAD")
    assert daemon.cli("calls", "purge", call).returncode == 0
    until(lambda: not daemon.spooled(), what="no file is left")


def test_what_is_kept_goes_when_its_time_is_over(start: Start, tmp_path: Path, hook: Receiver) -> None:
    """Finished calls after `result_retention`, dead letters after `failure_retention`; their keys may be used again."""
    queue = {"result_retention": "1s", "failure_retention": "2s", "idempotency_window": "1s"}
    daemon = start({"api": service(tmp_path / "0", retry=ONCE)}, queue=queue)
    daemon.wait_healthy()
    key, put = {"Idempotency-Key": "again"}, time.time()
    done = daemon.put("api/tell/kept", b"", key)
    dead = daemon.put("api/status/500", b"x" * 400_000, {"X-Callback-Url": hook.url()})
    hook.wait()
    until(lambda: daemon.state_of(dead) == "DEAD", what="it is dead")
    assert until(lambda: other if (other := daemon.put("api/tell/kept", b"", key)) != done else "", every=0.2)
    until(lambda: time.time() > put + 3, what="both are too old")
    daemon.restart()  # the store is swept at the start, and once a minute
    daemon.wait_healthy()
    until(lambda: daemon.state_of(done) == "", what="the result is forgotten")
    until(lambda: daemon.state_of(dead) == "", what="the dead letter is forgotten")
    until(lambda: not daemon.spooled(), what="no file is left")


def test_results_together_stay_below_their_limit(start: Start, tmp_path: Path) -> None:
    """`max_results_bytes`: the oldest go first, the newest stays."""
    queue = {"max_results_bytes": "200KiB", "max_result": "64KiB"}
    daemon = start({"api": service(tmp_path / "0", retry=ONCE)}, queue=queue)
    calls = [daemon.put("api/chunked/30") for _ in range(20)]
    daemon.wait_healthy()
    daemon.wait_state(calls[-1], "DONE")
    until(lambda: kept(daemon, calls) <= 7, within=20, every=0.2, what="few enough are kept")
    until(
        lambda: daemon.cli("calls", "show", calls[-1], "--result").returncode == 0, what="the newest is there"
    )


def kept(daemon: Daemon, calls: list[str]) -> int:
    """How many answers are still there."""
    return sum(daemon.cli("calls", "show", call, "--result").returncode == 0 for call in calls)
