"""The whole daemon as a process, with `backend = "jetstream"` on a real nats-server."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter

import pytest

from tests.house.daemon import Daemon, service
from tests.house.load import Books, Loader
from tests.house.patience import until
from tests.house.receivers import receiver

from .conftest import DyingBroker

SOON = {"attempts": 60, "min_wait": "10ms", "max_wait": "100ms"}
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "4"))


@pytest.fixture
def house(tmp_path):
    """Makes daemons on one namespace; they end with the test."""
    made = []

    def one(url: str, *, wait: bool = True, options=(), **tables):
        root = tmp_path / f"daemon{len(made)}"
        root.mkdir()
        functions = {"quick": service(root, script="recorder.py", retry=SOON, max_inflight=16)}
        options = dict(options) | {
            "servers": [url],
            "namespace": tmp_path.name[-64:],
            "ack_wait": "2s",
            "poll_interval": "500ms",
        }
        queue = {"backend": "jetstream", "options": options}
        daemon = Daemon(root, functions, queue=queue, callback={"schedule": ["100ms"] * 60}, **tables)
        made.append(daemon)
        daemon.start(wait=wait)
        return daemon

    yield one
    for daemon in made:
        daemon.close()


def recorded(*daemons: Daemon) -> Counter[str]:
    """How often each call ran, on all of them."""
    found: Counter[str] = Counter()
    for daemon in daemons:
        path = daemon.root / "record"
        for line in path.read_text("latin-1").splitlines() if path.exists() else []:
            found[line.split(" ")[0]] += 1
    return found


def put(daemon: Daemon, call: str, body: bytes = b"small", **headers: str) -> int:
    given = {"X-Call-Id": call} | {name.replace("_", "-"): value for name, value in headers.items()}
    return daemon.ask("POST", "/async-function/quick?slow=0.002", body, given).status


def test_a_call_with_a_callback(house, broker):
    """202, run, called back with the function's answer; the record and the result are there."""
    daemon = house(broker)
    with receiver() as hook:
        identity = daemon.put("quick", b"hello", {"X-Callback-Url": hook.url("/done")})
        until(lambda: hook.at("/done"), what="the callback came")
        assert hook.at("/done")[0].headers["x-function-status"] == "200"
    assert daemon.wait_state(identity, "DONE")["status"] == 200


def test_options_of_a_call_are_honoured(house, broker):
    """Delay, priority, idempotency key and cancel, as with the built-in queue."""
    daemon = house(broker)
    daemon.wait_healthy()
    due = time.time() + 1.5
    later = daemon.put("quick", b"x", {"X-Delay": "1500ms", "X-Priority": "5"})
    assert daemon.wait_state(later, "DELAYED")
    doomed = daemon.put("quick", b"x", {"X-Delay": "60s"})
    assert daemon.ask("DELETE", f"/async-function/{doomed}").status == 202
    assert daemon.wait_state(doomed, "CANCELLED")
    key = {"Idempotency-Key": "k"}
    first = daemon.ask("POST", "/async-function/quick", b"1", key)
    again = daemon.ask("POST", "/async-function/quick", b"1", key)
    assert first.headers["x-queue-id"] == again.headers["x-queue-id"]
    assert daemon.ask("POST", "/async-function/quick", b"2", key).status == 422
    daemon.wait_state(later, "DONE")
    assert time.time() >= due


@pytest.mark.crash
def test_kill_9_of_daemon_and_broker_under_load(house, tmp_path, capsys, dying_broker):
    """In turns: every 202 ran, every callback came, nothing refused ran."""
    daemon = house(dying_broker.url)
    books, dice = Books(), random.Random(7)
    large = b"L" * 400_000
    with receiver() as hook:
        fields = f"X-Callback-Url: {hook.url('/done')}\r\n"

        def request(call: str) -> tuple[str, bytes, str]:
            number = int(call.rpartition("-")[2])
            return "/async-function/quick?slow=0.002", large if number % 25 == 7 else b"small", fields

        for number in range(ROUNDS):
            names = [[f"r{number}-{t}-{n}" for n in range(100)] for t in range(4)]
            loader = Loader(daemon.port, books, names, request)
            loader.start()
            time.sleep(dice.uniform(0.1, 0.8))
            if number % 2:
                dying_broker.kill()
                time.sleep(0.2)
                dying_broker.start()
                loader.join()
            else:
                daemon.kill()
                loader.join()
                daemon.start()
        until(lambda: books.accepted <= set(recorded(daemon)), within=40, every=0.1, what="every 202 ran")
        called = Counter()

        def all_called() -> bool:
            called.clear()
            called.update(one.headers["x-call-id"] for one in list(hook.got))
            return books.accepted <= set(called)

        until(all_called, within=40, every=0.1, what="every callback came")
    ran = recorded(daemon)
    assert not set(ran) & books.refused
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log
    with capsys.disabled():
        print(
            f"\n{ROUNDS} kills: {books}; {sum(ran.values())} runs of {len(ran)} calls, "
            f"{sum(ran.values()) - len(ran)} duplicates; {sum(called.values()) - len(called)} duplicate callbacks"
        )


def test_two_daemons_share_a_batch_and_one_dies(house, broker, capsys):
    """All calls are put on one; both run them; one is killed, and the other runs the rest."""
    one, two = house(broker), house(broker)
    books = Books()
    names = [[f"b{t}-{n}" for n in range(150)] for t in range(4)]
    loader = Loader(one.port, books, names, lambda _: ("/async-function/quick?slow=0.02", b"x", ""))
    loader.start()
    until(lambda: len(recorded(one)) > 40 and len(recorded(two)) > 40, what="both take part")
    loader.join()
    two.send(signal.SIGKILL)
    two.wait()
    assert len(books.accepted) == 600, books
    until(lambda: books.accepted <= set(recorded(one, two)), within=40, every=0.1, what="every 202 ran")
    ran = recorded(one, two)
    with capsys.disabled():
        print(
            f"\n{len(recorded(one))} calls on one, {len(recorded(two))} on two, "
            f"{sum(ran.values()) - len(ran)} duplicates"
        )
    assert sum(ran.values()) - len(ran) <= 32


def test_a_pause_holds_for_the_daemon_that_was_asked(house, broker):
    """The others run what it has at hand; when all are paused nobody does, also after kill -9; resumed, each call runs once."""
    one, two = house(broker), house(broker)
    names = [f"p{number}" for number in range(60)]
    for name in names[:20]:
        assert put(one, name) == 202
    until(lambda: set(names[:20]) <= set(recorded(one, two)), what="both serve the lane")
    answer = one.system("POST", "/system/queue/quick/pause").json()
    assert answer == {"function": "quick.openfaas-fn", "paused": True, "shared": True}
    assert "others that share the queue go on" in one.cli("queue", "pause", "quick").stdout
    ran = len(recorded(one))
    for name in names[20:40]:
        assert put(one, name) == 202
    until(lambda: set(names[20:40]) <= set(recorded(two)), what="the other runs them")
    assert len(recorded(one)) == ran
    assert two.system("POST", "/system/queue/quick/pause").status == 200
    for name in names[40:]:
        assert put(two, name) == 202
    one.kill()
    one.start()
    one.wait_healthy()
    until(lambda: figures(one).get("ready", 0) + figures(one).get("leased", 0) >= 20, what="they wait")
    assert set(recorded(one, two)) == set(names[:40])
    assert one.system("POST", "/system/queue/quick/resume").status == 200
    until(lambda: set(names) <= set(recorded(one)) | set(recorded(two)), within=40, what="all ran")
    assert set(names[40:]) <= set(recorded(one))
    assert max(recorded(one, two).values()) == 1


def figures(daemon: Daemon) -> dict:
    """Of the lane quick, as this daemon knows it."""
    lanes = {lane["name"]: lane for lane in daemon.system("GET", "/system/queue").json()["lanes"]}
    return lanes.get("quick.openfaas-fn", {})


def test_a_broker_that_is_away_is_503(house, dying_broker):
    """With Retry-After; /healthz says why; and it is well again by itself."""
    daemon = house(dying_broker.url)
    daemon.wait_healthy()
    dying_broker.kill()
    until(lambda: daemon.ask("GET", "/healthz").status != 200, what="it is not healthy")
    answer = daemon.ask("POST", "/async-function/quick", b"x")
    assert answer.status == 503
    assert "retry-after" in answer.headers
    dying_broker.start()
    daemon.wait_healthy()
    assert put(daemon, "after") == 202
    until(lambda: "after" in recorded(daemon), what="it ran")


def test_a_misspelt_option_stops_the_start(house, broker, tmp_path):
    """One sentence, with the key."""
    daemon = house(broker)
    daemon.stop()
    daemon.tables["queue"]["options"]["sevrers"] = ["x"]
    daemon.write()
    daemon.start(wait=False)
    assert daemon.wait(10) == 2
    assert "queue.options.sevrers" in daemon.log
    assert "Traceback" not in daemon.log


@pytest.fixture
def guarded(tmp_path):
    """A server with a password, and the options of who knows it."""
    (tmp_path / "password").write_text("s3cr3t-of-ours\n")
    one = DyingBroker(
        tmp_path / "guarded", extra='authorization { user: "ours", password: "s3cr3t-of-ours" }'
    )
    yield one, {"user": "ours", "password_file": str(tmp_path / "password")}
    one.kill()


def test_a_wrong_password_stops_the_start(house, guarded, tmp_path):
    """One sentence, and no secret in it."""
    broker, options = guarded
    (tmp_path / "password").write_text("wr0ng")
    daemon = house(broker.url, wait=False, options=options)
    assert daemon.wait(20) != 0
    assert "Authorization Violation" in daemon.log
    assert "Traceback" not in daemon.log
    assert "wr0ng" not in daemon.log


def test_a_password_that_is_changed_at_the_server_ends_the_daemon(house, guarded):
    """With the same it comes back after the server's loss; with another it ends with one sentence, as its next start does."""
    broker, options = guarded
    daemon = house(broker.url, options=options)
    assert put(daemon, "before") == 202
    until(lambda: "before" in recorded(daemon), what="it ran")
    broker.kill()
    broker.start()
    until(lambda: put(daemon, "after") == 202, what="it is back")
    broker.kill()
    broker.config.write_text(broker.config.read_text().replace("s3cr3t-of-ours", "another"))
    broker.start()
    assert daemon.wait(20) != 0
    assert "Authorization Violation" in daemon.log
    assert "Traceback" not in daemon.log
    assert "s3cr3t-of-ours" not in daemon.log
