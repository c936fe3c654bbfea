"""Functions called by the clock, by a whole daemon: each slot once, through kills, restarts and reloads."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from tests.house.daemon import Daemon, service
from tests.house.patience import until

Make = Callable[..., Daemon]


def tick(root: Path, *more: str, **settings: object) -> dict[str, object]:
    """A function that is called every second."""
    return service(root, schedule=["@every 1s", *more], **settings)


def slots(daemon: Daemon) -> dict[int, str]:
    """The slots whose calls the queue took, in seconds since 1970, and the calls; the daemon does not run."""
    with closing(sqlite3.connect(daemon.state / "queue" / "queue.sqlite")) as store:
        rows = store.execute("SELECT name, key FROM keyed WHERE name LIKE 'cron-function %'").fetchall()
    assert len({key for _, key in rows}) == len(rows)
    return {int(name.removeprefix("cron-function ")): str(key) for name, key in rows}


def called(daemon: Daemon) -> int:
    """How many different calls the function saw."""
    return len({line["call"] for line in daemon.ran()})


def test_it_is_called_as_the_connector_would(make: Make, tmp_path: Path) -> None:
    """POST / without a body, with the connector's headers; the call is listed, has a result, and is counted."""
    root = tmp_path / "0"
    daemon = make({"tick": tick(root), "plain": service(root)})
    daemon.start()
    until(lambda: len(daemon.ran()) >= 2, what="two seconds have passed")
    first = daemon.ran()[0]
    assert (first["method"], first["target"], first["body"]) == ("POST", "/", "")
    headers = {name.lower(): value for name, value in first["headers"]}
    assert headers["x-topic"] == "cron-function"
    assert headers["x-connector"] == "cron-connector"
    assert "idempotency-key" not in headers
    daemon.wait_state(first["call"], "DONE")
    page = daemon.ask("GET", "/metrics").text
    assert 'faasd_schedule_slots_total{function_name="tick.openfaas-fn",outcome="put"}' in page
    shown = {row["name"]: row for row in json.loads(daemon.cli("functions", "--json").stdout)}
    assert shown["tick"]["schedule"] == ["@every 1s"]
    assert shown["tick"]["nextRun"].startswith("20")
    assert "nextRun" not in shown["plain"]


def test_no_slot_twice_and_none_lost_while_it_is_up(make: Make, tmp_path: Path) -> None:
    """Through kills and a restart: every second that a life saw whole has its call, and only one."""
    daemon = make({"tick": tick(tmp_path / "0", retry={"min_wait": "10ms", "max_wait": "10ms"})})
    lives = []
    for end in (daemon.kill, daemon.stop, daemon.kill):
        daemon.start()
        daemon.wait_healthy()
        healthy, before = time.time(), called(daemon)
        until(lambda before=before: called(daemon) >= before + 3, what="three seconds have passed")
        lives.append((healthy, time.time()))
        end()
    daemon.start()
    daemon.wait_healthy()
    until(daemon.idle, what="what was accepted ran")
    daemon.stop()
    put = slots(daemon)
    assert called(daemon) == len(put)
    for healthy, ended in lives:
        whole = range(int(healthy) + 1, int(ended))
        assert [slot for slot in whole if slot not in put] == []


def test_a_reload_changes_it_at_once(make: Make, tmp_path: Path) -> None:
    """Another schedule, none, one again; reloads in between put no slot twice; a bad one is refused."""
    daemon = make({"tick": tick(tmp_path / "0"), "other": service(tmp_path / "0")})
    daemon.start()
    until(lambda: called(daemon) >= 1, what="it is called")
    for number in range(6):
        daemon.tables["functions"]["other"]["labels"] = {"n": str(number)}
        daemon.reload()
        until(lambda number=number: daemon.log.count("reloaded") > number, what="reloaded")
    settings = daemon.tables["functions"]["tick"]
    settings["schedule"] = "0 0 1 1 *"
    daemon.reload()
    until(lambda: daemon.log.count("reloaded") > 6, what="reloaded")
    until(daemon.idle, what="what was put ran")
    seen = called(daemon)
    settings["schedule"] = "61 * * * *"
    daemon.reload()
    until(lambda: "reload refused" in daemon.log, what="the refusal")
    assert "functions.tick.schedule: bad minute" in daemon.log
    assert called(daemon) == seen
    settings["schedule"] = []
    settings["annotations"] = {"topic": "cron-function", "schedule": "@every 1s"}
    daemon.reload()
    until(lambda: called(daemon) > seen, what="it is called again")
    daemon.stop()
    assert called(daemon) <= len(slots(daemon))


def test_a_full_queue_is_told_and_calls_go_on_after_it(make: Make, tmp_path: Path) -> None:
    """One call fills it; the slots meanwhile are refused, the next one after it is taken."""
    daemon = make({"tick": tick(tmp_path / "0"), "one": service(tmp_path / "0")}, queue={"max_depth": 1})
    daemon.tables["functions"]["tick"]["schedule"] = []
    daemon.write()
    daemon.start()
    stopper = daemon.put("one/tell", b"", {"X-Delay": "1h"})
    daemon.tables["functions"]["tick"]["schedule"] = "@every 1s"
    daemon.reload()
    until(lambda: "function tick.openfaas-fn is not called for" in daemon.log, what="the refusal")
    assert 'outcome="refused"} ' in daemon.ask("GET", "/metrics").text
    assert daemon.ask("DELETE", f"/async-function/{stopper}").status == 202
    until(lambda: called(daemon) >= 1, what="the next slot goes on")


def test_a_paused_function_has_its_calls_put_and_none_of_them_run(make: Make, tmp_path: Path) -> None:
    """Also after a kill; on resuming each of them runs once, but those that were purged before."""
    daemon = make({"tick": tick(tmp_path / "0", max_inflight=1)})
    daemon.tables["functions"]["tick"]["schedule"] = []
    daemon.write()
    daemon.start()
    daemon.wait_healthy()
    assert daemon.system("POST", "/system/queue/tick/pause").status == 200
    daemon.tables["functions"]["tick"]["schedule"] = ["@every 1s"]
    daemon.reload()
    until(lambda: waiting(daemon) >= 2, what="two slots put their calls")
    daemon.kill()
    daemon.start()
    daemon.wait_healthy()
    before = waiting(daemon)
    until(lambda: waiting(daemon) > before, what="the next life's slot put its call")
    purged = daemon.system("POST", "/system/calls/purge?function=tick&state=ready&limit=1").json()["count"]
    assert (purged, daemon.ran()) == (1, [])
    daemon.tables["functions"]["tick"]["schedule"] = []
    daemon.reload()
    until(lambda: "nextRun" not in daemon.system("GET", "/system/function/tick").json(), what="no more slots")
    left = waiting(daemon)
    assert daemon.system("POST", "/system/queue/tick/resume").status == 200
    until(daemon.idle, what="all of them ran")
    daemon.stop()
    assert len(daemon.ran()) == called(daemon) == left == len(slots(daemon)) - 1


def waiting(daemon: Daemon) -> int:
    """The calls of `tick` that wait."""
    lanes = {one["name"]: one["ready"] for one in daemon.system("GET", "/system/queue").json()["lanes"]}
    return lanes.get("tick.openfaas-fn", 0)


def test_down_over_a_slot(make: Make, tmp_path: Path) -> None:
    """Months later the last slot is made up for, once, where that is asked for; not again after another restart."""
    root = tmp_path / "0"
    monthly = {"schedule": "@monthly", "catch_up": "last"}
    daemon = make({"last": service(root, **monthly), "none": service(root, schedule="@monthly")})
    daemon.surroundings = {
        "PYTHONPATH": str(Path(__file__).with_name("clock")),
        "CLOCK_OFFSET": str(root / "offset"),
    }
    daemon.start()
    until(lambda: "ready" in daemon.log and (daemon.state / "schedules" / "last.json").exists(), what="noted")
    daemon.kill()
    (root / "offset").write_text(str(100 * 86400))
    daemon.start()
    until(lambda: called(daemon) == 1, what="the last one is made up for")
    daemon.restart()
    daemon.wait_healthy()
    until(daemon.idle)
    assert called(daemon) == 1


def test_check_tells_what_is_wrong(make: Make, tmp_path: Path) -> None:
    """With the place, and status 2; the daemon does not start either."""
    daemon = make({"tick": service(tmp_path / "0", schedule=["@hourly", "CRON_TZ=No/Where 0 0 * * *"])})
    done = daemon.cli("check")
    assert done.returncode == 2
    assert (
        "functions.tick.schedule: expected a time zone that this machine knows" in done.stdout + done.stderr
    )


def test_deployed_functions_are_called_too(make: Make, tmp_path: Path) -> None:
    """By OpenFaaS' annotations; updated and removed in that moment, restored at a start; a bad schedule is 400."""
    root = tmp_path / "0"
    template = service(root)
    daemon = make({"api": service(root)}, images={"any/recorder:*": template})
    daemon.start()
    daemon.wait_healthy()
    sent = {
        "service": "tick",
        "image": "any/recorder:latest",
        "annotations": {"topic": "cron-function", "schedule": "@every 1s"},
    }
    bad = sent | {"annotations": {"topic": "cron-function", "schedule": "every day"}}
    answer = daemon.system("POST", "/system/functions", bad)
    assert answer.status == 400
    assert "annotations.schedule: expected five fields" in answer.text
    assert daemon.system("POST", "/system/functions", sent).status == 202
    until(lambda: called(daemon) >= 2, what="it is called")
    shown = daemon.system("GET", "/system/function/tick").json()
    assert shown["nextRun"].startswith("20")
    daemon.kill()
    daemon.start()
    seen = called(daemon)
    until(lambda: called(daemon) > seen + 1, what="it is called after a restart")
    daemon.wait_healthy()
    yearly = sent | {"annotations": {"topic": "cron-function", "schedule": "@yearly"}}
    assert daemon.system("PUT", "/system/functions", yearly).status == 202
    until(daemon.idle, what="what was put ran")
    seen = called(daemon)
    assert daemon.system("PUT", "/system/functions", sent).status == 202
    until(lambda: called(daemon) > seen, what="it is called again")
    assert daemon.system("PUT", "/system/functions", yearly).status == 202
    until(daemon.idle, what="what was put ran")
    assert daemon.system("DELETE", "/system/functions", {"functionName": "tick"}).status == 202
    daemon.stop()
    assert called(daemon) == len(slots(daemon))
