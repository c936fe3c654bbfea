"""Two whole daemons as processes: one offers its queue, the other is its spoke."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest

from tests.house.daemon import running, service
from tests.house.patience import until

from .daemons import below, daemon, hub_tables, spoke_tables


@pytest.fixture
def root():
    directory = Path(tempfile.mkdtemp(prefix="nng-"))
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
def house(root):
    """Starts a hub and a spoke, each with the functions given by a maker of settings."""
    running = []

    def start(hub_functions, spoke_functions, lanes, **options):
        here, there = below(root, "hub"), below(root, "spoke")
        hub = daemon(here, {name: make(here) for name, make in hub_functions.items()}, hub_tables(root))
        running.append(hub)
        hub.start()
        tables = spoke_tables(root, lanes, **options)
        spoke = daemon(there, {name: make(there) for name, make in spoke_functions.items()}, tables)
        running.append(spoke)
        spoke.start()
        spoke.wait_healthy()
        return hub, spoke

    yield start
    for one in running:
        one.close()


def test_a_call_put_at_the_spoke_runs_at_the_hub(house):
    """The spoke has the function for its gateway, and serves no lanes; its result is asked for at the spoke."""
    hub, spoke = house({"echo": service}, {"echo": service}, lanes=[])
    call = spoke.put("echo", b"hello", {"X-Callback-Url": "http://gateway/function/echo"})
    spoke.wait_state(call, "DONE")
    until(lambda: len(hub.ran()) >= 2, within=15, what="the call and its callback ran at the hub")
    assert not spoke.ran()
    assert hub.state_of(call) == "DONE"


def test_a_call_put_at_the_hub_runs_at_the_spoke(house):
    """The hub's gateway knows the function by a name nobody calls: the one that runs is on the other machine."""
    hub, spoke = house({"local": service}, {"far": service, "local": service}, lanes=["far.*"])
    near = hub.put("local", b"here", {"X-Callback-Url": "http://gateway/function/local"})
    hub.wait_state(near, "DONE")
    call = spoke.put("far", b"there", {"X-Callback-Url": "http://gateway/function/local"})
    hub.wait_state(call, "DONE")
    until(lambda: len(hub.ran()) >= 3, within=15, what="the callback came to the hub")
    assert len(spoke.ran()) == 1
    assert hub.show(call)["attempts"] == 1


def test_both_serve_a_function_that_both_have(house):
    """A batch put at the hub is run by both."""
    hub, spoke = house({"echo": service}, {"echo": service}, lanes=["echo.*"])
    calls = [hub.put("echo/slow?seconds=0.05", b"x") for _ in range(60)]
    for call in calls:
        hub.wait_state(call, "DONE")
    assert len(hub.ran()) + len(spoke.ran()) == 60
    assert spoke.ran() and hub.ran()


def test_the_lanes_of_a_spoke_that_is_away_wait_for_it(house):
    """Nobody answers 404 in its place, also not after the hub was started anew."""
    hub, spoke = house({"local": service}, {"far": service}, lanes=["far.*"])
    spoke.put("far", b"1")
    until(lambda: len(spoke.ran()) == 1, within=15, what="it runs")
    stored = spoke.tables["queue"]["options"]
    spoke.stop()
    with running(below(spoke.root, "putter"), {"far": service(spoke.root)}, queue={
        "backend": "nng", "options": {**stored, "lanes": []},
    }) as putter:  # fmt: skip
        call = putter.put("far", b"2")
        hub.restart()
        hub.wait_healthy()
        assert hub.show(call)["attempts"] == 0
        spoke.start()
        hub.wait_state(call, "DONE")
    assert len(spoke.ran()) == 2


def test_large_bodies_go_both_ways(house):
    """Of a few megabytes: to the hub's spool, and to a file at the spoke for its function."""
    hub, spoke = house({"local": service}, {"far": service}, lanes=["far.*"])
    call = spoke.put("far", b"x" * 3_000_000)
    hub.wait_state(call, "DONE")
    assert spoke.ran()[0]["size"] == 3_000_000
    until(
        lambda: not [path for path in spoke.spooled() if "bodies" in str(path)],
        within=5,
        what="the file is gone",
    )


def test_a_hub_that_is_away_is_told_and_store_and_forward_accepts(house):
    """Mode remote answers 503 and says so on /healthz; store-and-forward answers 202, and the call runs later."""
    hub, spoke = house(
        {"echo": service}, {"echo": service}, lanes=[], mode="store-and-forward", put_timeout="500ms"
    )
    hub.stop()
    until(lambda: spoke.ask("POST", "/async-function/echo", b"kept").status == 202, within=10)
    call = spoke.put("echo", b"kept too")
    assert spoke.ask("GET", "/healthz").status == 200
    hub.start()
    until(lambda: len(hub.ran()) >= 2, within=20, what="what was kept runs")
    spoke.wait_state(call, "DONE")


def test_mode_remote_says_that_the_hub_is_away(house):
    """503, with the reason on /healthz."""
    hub, spoke = house({"echo": service}, {"echo": service}, lanes=[], put_timeout="300ms")
    hub.stop()
    until(lambda: spoke.ask("GET", "/healthz").status == 503, within=10)
    until(lambda: spoke.ask("POST", "/async-function/echo", b"x").status == 503, within=10)
    hub.start()
    until(lambda: spoke.ask("POST", "/async-function/echo", b"x").status == 202, within=20)


def test_a_hub_that_is_open_to_all_does_not_start(root):
    """One sentence that names the setting."""
    here = below(root, "hub")
    made = daemon(here, {}, hub_tables(root, listen=["tcp://0.0.0.0:7776"]))
    made.start(wait=False)
    try:
        assert made.wait(20) == 2
        assert "services.nng-hub.listen: tcp://0.0.0.0:7776 can be reached from other machines" in made.log
        assert "Traceback" not in made.log
    finally:
        made.close()


@pytest.mark.parametrize("both", [False, True])
def test_a_lane_that_is_paused_at_the_hub_runs_nowhere(house, both):
    """Claimed by the spoke or served by both: nothing begins until it is resumed, at the spoke either; what runs is finished."""
    hub, spoke = house(
        {"far": service, "local": service} if both else {"local": service},
        {"far": service, "local": service},
        lanes=["far.*"],
    )
    before = [spoke.put("far/slow?seconds=0.1", b"x") for _ in range(40)]
    until(lambda: len(spoke.ran()) > 2, within=15, what="the spoke takes part")
    assert hub.system("POST", "/system/queue/far/pause").json() == {
        "function": "far.openfaas-fn",
        "paused": True,
    }
    at_once = len(hub.ran()) + len(spoke.ran())
    until(
        lambda: figures(hub)["leased"] == 0, within=15, what="what ran is finished, and the rest handed back"
    )
    ran = len(hub.ran()) + len(spoke.ran())
    assert ran <= at_once + 10  # those that had begun, on record, and reached their function a moment later
    spoke.put("far", b"accepted")
    hub.wait_state(hub.put("local", b"another lane"), "DONE")
    assert figures(hub)["ready"] == 41 - ran
    assert spoke.system("POST", "/system/queue/local/pause").json()["shared"] is True
    assert hub.system("POST", "/system/queue/far/resume").status == 200
    for call in before:
        hub.wait_state(call, "DONE")
    assert all(hub.show(call)["attempts"] == 1 for call in before)


def figures(daemon):
    """Of the lane far."""
    lanes = {lane["name"]: lane for lane in daemon.system("GET", "/system/queue").json()["lanes"]}
    return lanes["far.openfaas-fn"]
