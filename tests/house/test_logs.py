"""The lines of functions: kept by the whole daemon, read and followed through its door."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.house.daemon import PYTHON, Daemon, Settings, service
from tests.house.patience import until

SPEAK = """
import os, sys
query, call = os.environ['Http_Query'], os.environ['Http_X_Call_Id']
sys.stderr.write(''.join(f'line {n} of {call}' + ' and so on' * 5 + '\\n' for n in range(int(query))))
"""
ALWAYS = "since=1970-01-01T00:00:00Z"


def speaker(**more: Any) -> Settings:
    """A fork function that writes as many lines as the query says."""
    return {"command": [*PYTHON, "-c", SPEAK], **more}


def speak(daemon: Daemon, lines: int = 1, call: str = "call") -> None:
    """Call it."""
    answer = daemon.ask("POST", f"/function/speak?{lines}", b"", {"X-Call-Id": call})
    assert answer.status == 200, answer


def logs(daemon: Daemon, query: str = "name=speak") -> list[dict[str, str]]:
    """What `/system/logs` says."""
    answer = daemon.ask("GET", f"/system/logs?{query}")
    assert answer.status == 200, answer
    return [json.loads(line) for line in answer.body.splitlines()]


def fds(daemon: Daemon) -> int:
    """Descriptors of the daemon."""
    return sum(1 for _ in Path(f"/proc/{daemon.pid}/fd").iterdir())


class Follower:
    """A stream through the door."""

    def __init__(self, daemon: Daemon, query: str) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=30)
        self.connection.request("GET", f"/system/logs?{query}")
        self.response = self.connection.getresponse()
        assert self.response.status == 200

    def line(self) -> dict[str, str] | None:
        """The next one; None at the end."""
        line = self.response.readline()
        return json.loads(line) if line else None


@contextmanager
def following(daemon: Daemon, query: str = "name=speak&follow=1") -> Iterator[Follower]:
    """One who follows; hangs up in the end."""
    follower = Follower(daemon, query)
    with closing(follower.connection), closing(follower.response):
        yield follower


def test_a_line_is_read_as_soon_as_the_call_is_over(start: Callable[..., Daemon]) -> None:
    """With its call and its process; restarts and kill -9 lose nothing that was read once."""
    daemon = start({"speak": speaker()})
    speak(daemon, 2, "mine")
    one, two = logs(daemon, "name=speak&more=1")
    assert one["text"].startswith("line 0 of mine ")
    assert two["text"].startswith("line 1 of mine ")
    assert one["instance"] == two["instance"] != ""
    assert (one["call_id"], one["stream"]) == ("mine", "stderr")
    for number in (signal.SIGTERM, signal.SIGKILL):
        daemon.stop(number)
        daemon.start()
        assert logs(daemon, "name=speak&more=1")[:2] == [one, two]
        speak(daemon)
    assert len(logs(daemon)) == 4
    assert "line 0 of mine" in daemon.log


def test_lines_of_the_watchdog(start: Callable[..., Daemon]) -> None:
    """When they are asked for, also by a reload: as classic-watchdog writes them, around the function's own."""
    daemon = start({"speak": speaker(), "fail": {"command": ["false"]}})
    speak(daemon)
    assert len(logs(daemon)) == 1
    daemon.tables["logs"] = {"watchdog_lines": True}
    daemon.reload()
    until(lambda: "reloaded" in daemon.log, what="it has reloaded")
    speak(daemon, 1, "mine")
    assert daemon.ask("POST", "/function/fail", b"").status == 500
    first, own, last = logs(daemon, "name=speak&tail=3")
    stamp = r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d "
    assert re.fullmatch(stamp + r"Forking fprocess\.", first["text"])
    assert own["text"].startswith("line 0 of mine")
    assert re.fullmatch(stamp + r"Wrote 0 Bytes - Duration: \d+\.\d{6}s", last["text"])
    assert own["instance"] == last["instance"]
    assert len(logs(daemon, "name=speak&call_id=mine")) == 3
    assert [line["text"][20:30] for line in logs(daemon, "name=fail")] == ["Forking fp", "Wrote 0 By"]


def test_services_and_their_streams(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """Standard output and error of a long-lived process, by its pid."""
    script = "import os,sys; print('to stdout', flush=True); print('to stderr', file=sys.stderr); os.execvp(sys.argv[1], sys.argv[1:])"
    inner = service(tmp_path / "0")
    daemon = start({"api": {**inner, "command": [*PYTHON, "-c", script, *inner["command"]]}})
    assert daemon.ask("GET", "/function/api/").status == 200
    lines = {line["stream"]: line for line in logs(daemon, "name=api&more=true")}
    assert lines["stdout"]["text"] == "to stdout"
    assert lines["stderr"]["text"] == "to stderr"
    pid = lines["stderr"]["instance"]
    assert Path(f"/proc/{pid}").exists()
    assert len(logs(daemon, f"name=api&instance={pid}")) == 2
    assert logs(daemon, "name=api&instance=1") == []


def test_a_follower_reads_through_the_door(start: Callable[..., Daemon]) -> None:
    """Old lines, then new ones; when the client hangs up nothing of it is left in the daemon, though nobody says anything."""
    daemon = start({"speak": speaker()})
    daemon.wait_healthy()
    speak(daemon, 3, "old")
    assert len(logs(daemon)) == 3
    before = fds(daemon)
    with (
        following(daemon) as follower,
        following(daemon, "name=speak&follow=true&tail=1&call_id=new") as other,
    ):
        for number in range(3):
            assert (follower.line() or {})["text"].startswith(f"line {number} of old ")
        speak(daemon, 2, "new")
        for number in range(2):
            assert (follower.line() or {})["text"].startswith(f"line {number} of new ")
            assert (other.line() or {})["text"].startswith(f"line {number} of new ")
    until(lambda: fds(daemon) <= before, within=30, what="no descriptor is left")


def test_a_stop_ends_a_follower_with_a_whole_answer(start: Callable[..., Daemon]) -> None:
    """It holds up no stop, and the lines up to the stop are in it."""
    daemon = start({"speak": speaker()}, workers={"grace": "60s"})
    with following(daemon) as follower:
        speak(daemon)
        assert follower.line() is not None
        daemon.send(signal.SIGTERM)
        assert follower.line() is None
        assert daemon.wait(within=20) == 0


def test_silence_does_not_end_a_follower(start: Callable[..., Daemon]) -> None:
    """Older than the door's timeouts, by which one that does not read is cut off meanwhile, it still gets its line."""
    short = {
        "write_timeout": "500ms",
        "read_timeout": "500ms",
        "idle_timeout": "500ms",
        "head_timeout": "500ms",
    }
    daemon = start({"speak": speaker()}, gateway=short)
    daemon.wait_healthy()
    before = fds(daemon)
    with following(daemon, "name=speak&follow=1&call_id=rare") as patient:
        for number in range(20):
            speak(daemon, 2_000, str(number))
        deaf = socket.socket()
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(("127.0.0.1", daemon.port))
        with deaf:
            deaf.sendall(b"GET /system/logs?name=speak&follow=1 HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: fds(daemon) >= before + 4, what="both are served")
            until(lambda: fds(daemon) < before + 4, within=30, what="the deaf one is cut off")
        speak(daemon, 1, "rare")
        assert (patient.line() or {})["text"].startswith("line 0 of rare ")


def test_a_hundred_thousand_lines_of_many_processes(start: Callable[..., Daemon]) -> None:
    """Each of them is there once, those of one process in their order, while somebody follows and another reads."""
    limits = {"per_function": "64MiB", "echo": False}
    daemon = start({"speak": speaker(max_inflight=8)}, logs=limits)
    calls = [f"c{number}" for number in range(25)]

    def follow() -> dict[str, int]:
        counts = dict.fromkeys(calls, 0)
        with following(daemon, "name=speak&follow=1") as follower:
            for _ in range(100_000):
                line = follower.line()
                assert line is not None
                _, number, _, call = line["text"].split(" ", 4)[:4]
                assert int(number) == counts[call]
                counts[call] += 1
        return counts

    with ThreadPoolExecutor(7) as pool:
        followed = pool.submit(follow)
        list(pool.map(lambda call: speak(daemon, 4_000, call), calls))
        assert set(followed.result(60).values()) == {4_000}
    last = logs(daemon, f"name=speak&tail=5&{ALWAYS}")
    assert len(last) == 5
    assert all(line["text"].startswith("line 399") for line in last)
    assert daemon.log.count("line 0 of") == 0, "no echo was asked for"


def test_rotation_keeps_the_newest_within_the_bound(start: Callable[..., Daemon]) -> None:
    """And a reload changes the bound without a restart."""
    daemon = start({"speak": speaker()}, logs={"per_function": "2MiB", "echo": False})
    place = daemon.state / "logs"
    for number in range(6):
        speak(daemon, 6_000, str(number))
    lines = logs(daemon)
    assert lines[-1]["text"].startswith("line 5999 of 5 ")
    assert 1 << 20 < _size(place) <= 2 << 20
    daemon.tables["logs"]["per_function"] = "1MiB"
    daemon.reload()
    until(lambda: "reloaded" in daemon.log, what="it has reloaded")
    speak(daemon)
    fewer = logs(daemon)
    assert fewer[-1]["text"].startswith("line 0 of call ")
    assert fewer[:-1] == lines[-len(fewer) + 1 :]
    assert _size(place) <= 1 << 20


def _size(place: Path) -> int:
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def test_a_kill_in_the_middle_spoils_nothing(make: Callable[..., Daemon]) -> None:
    """Again and again: what was read before is there after it, every line is whole, and no call is disturbed."""
    daemon = make({"speak": speaker()}, logs={"per_function": "64MiB", "echo": False})
    seen = 0
    with ThreadPoolExecutor(1) as pool:
        for life in range(4):
            daemon.start()
            busy = pool.submit(_speak_until_it_dies, daemon, str(life))
            until(lambda: len(logs(daemon, f"name=speak&{ALWAYS}")) > seen + 500, within=30)  # noqa: B023
            seen = len(logs(daemon, f"name=speak&{ALWAYS}"))
            daemon.kill()
            busy.result(30)
    daemon.start()
    lines = logs(daemon, f"name=speak&{ALWAYS}")
    assert len(lines) >= seen
    assert all(line["text"].startswith("line ") and line["text"].endswith("and so on") for line in lines)


def _speak_until_it_dies(daemon: Daemon, call: str) -> None:
    try:
        while True:
            speak(daemon, 300, call)
    except (OSError, http.client.HTTPException):
        return


@pytest.mark.crash
def test_a_full_disk_loses_lines_and_no_call(
    make: Callable[..., Daemon], small_disk: Path, tmp_path: Path
) -> None:
    """Calls go on, the daemon is healthy, the loss is counted; with room again lines are kept, and the log says how many are not."""
    functions = {"speak": speaker(), "wait": speaker(command=["true"])}
    daemon = make(functions, state={"directory": str(small_disk / "state")}, logs={"echo": False})
    daemon.start()
    daemon.wait_healthy()
    speak(daemon, 3, "before")
    assert len(logs(daemon)) == 3
    ballast = small_disk / "ballast"
    free = os.statvfs(small_disk)
    ballast.write_bytes(bytes(free.f_bavail * free.f_frsize - (300 << 10)))
    speak(daemon, 100, "lost")
    assert len(logs(daemon)) == 3
    assert 'faasd_log_lines_dropped_total{reason="disk"} 100.0' in daemon.ask("GET", "/metrics").text
    assert daemon.ask("GET", "/healthz").status == 200
    assert daemon.put("wait"), "the queue still has room"
    ballast.unlink()
    speak(daemon, 1, "after")
    texts = [line["text"] for line in logs(daemon)]
    assert texts[3] == "(100 lines are missing: the disk is almost full)"
    assert texts[4].startswith("line 0 of after ")
    assert len(texts) == 5


def test_a_removed_function_can_still_be_read(start: Callable[..., Daemon]) -> None:
    """Its last words are often the reason."""
    daemon = start({"speak": speaker(), "other": speaker()})
    speak(daemon)
    assert len(logs(daemon)) == 1
    del daemon.tables["functions"]["speak"]
    daemon.reload()
    until(lambda: "reloaded: 1 functions" in daemon.log, what="it has reloaded")
    assert daemon.ask("GET", "/function/speak").status == 404
    assert len(logs(daemon)) == 1
    assert daemon.ask("GET", "/system/logs?name=never").status == 404


def test_deployed_functions(start: Callable[..., Daemon]) -> None:
    """Those of the same name in two namespaces are apart, as OpenFaaS' CLI asks for them; what was deleted can be read."""
    daemon = start({}, images={"acme/talker:*": {"command": [*PYTHON, "-c", SPEAK]}})
    daemon.wait_healthy()
    namespace = {"name": "dev", "labels": {"openfaas": "1"}}
    assert daemon.system("POST", "/system/namespace/", namespace).status == 201
    for name in ("openfaas-fn", "dev"):
        body = {"service": "talker", "image": "acme/talker:latest", "namespace": name}
        assert daemon.system("POST", "/system/functions", body).status == 202
        answer = daemon.ask("POST", f"/function/talker.{name}?1", b"", {"X-Call-Id": name})
        assert answer.status == 200, answer
    query = "name=talker&namespace={}&follow=0&tail=-1&since=2001-02-03T04:05:06Z"
    for name in ("openfaas-fn", "dev"):
        (line,) = logs(daemon, query.format(name))
        assert (line["name"], line["namespace"]) == ("talker", name)
        assert line["text"].startswith(f"line 0 of {name} ")
    removal = {"functionName": "talker", "namespace": "dev"}
    assert daemon.system("DELETE", "/system/functions", removal).status == 202
    daemon.restart()
    daemon.wait_healthy()
    assert len(logs(daemon, query.format("dev"))) == 1
    assert len(logs(daemon, query.format("openfaas-fn"))) == 1


def test_the_command_line(start: Callable[..., Daemon]) -> None:
    """Last lines however old, one call's, as JSON; and following until the daemon stops."""
    daemon = start({"speak": speaker()})
    speak(daemon, 3, "one")
    speak(daemon, 2, "two")
    done = daemon.cli("logs", "speak")
    assert (done.returncode, done.stderr) == (0, "")
    first = done.stdout.splitlines()[0].split(" ", 2)
    assert first[0].endswith("Z")
    assert first[1].isdigit()
    assert first[2].startswith("line 0 of one ")
    assert len(done.stdout.splitlines()) == 5
    assert len(daemon.cli("logs", "speak", "--tail", "2").stdout.splitlines()) == 2
    assert len(daemon.cli("logs", "speak.openfaas-fn", "--call", "one").stdout.splitlines()) == 3
    assert len(daemon.cli("logs", "speak", "--since", "1h", "--instance", first[1]).stdout.splitlines()) == 3
    assert daemon.cli("logs", "speak", "--since", "2099-01-01T00:00:00Z").stdout == ""
    lines = [json.loads(line) for line in daemon.cli("logs", "speak", "--json").stdout.splitlines()]
    assert [line["call_id"] for line in lines] == ["one"] * 3 + ["two"] * 2
    for words, said in (
        (["nobody"], "faasd-py: function nobody.openfaas-fn not found\n"),
        (
            ["speak", "--since", "soon"],
            'faasd-py: logs: --since: expected a duration like "10m" or a time like',
        ),
    ):
        refused = daemon.cli("logs", *words)
        assert refused.returncode in {1, 2}
        assert refused.stderr.startswith(said)
    command = [sys.executable, "-m", "faasd_py", "logs", "speak", "--follow", "--tail", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=daemon.environment) as follower:
        assert follower.stdout is not None
        assert b"line 1 of two" in follower.stdout.readline()
        speak(daemon, 1, "three")
        assert b"line 0 of three" in follower.stdout.readline()
        assert daemon.stop() == 0
        assert follower.stdout.read() == b""
        assert follower.wait(30) == 0
