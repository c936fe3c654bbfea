"""The whole daemon as a process, with this backend: HTTP in, functions run, callbacks out, brokers that die."""

from __future__ import annotations

import json
import time

import pytest

from tests.house.daemon import Daemon, service
from tests.house.patience import until
from tests.house.receivers import receiver

SOON = {"attempts": 60, "min_wait": "10ms", "max_wait": "100ms"}


@pytest.fixture
def hook():
    with receiver() as one:
        yield one


@pytest.fixture
def start(tmp_path, broker):
    """Daemons on one broker."""
    made = []

    def one(functions=None, options=None, **tables):
        root = tmp_path / f"daemon-{len(made)}"
        root.mkdir()
        functions = functions or {"quick": service(root, retry=SOON)}
        queue = {"backend": "nats-streaming", "options": broker.options(**(options or {}))}
        daemon = Daemon(root, functions, queue=queue, **tables)
        made.append(daemon)
        daemon.start()
        return daemon

    yield one
    for daemon in made:
        daemon.close()


def bodies(daemon):
    return [line["body"] for line in daemon.ran()]


def test_a_call_is_accepted_run_and_called_back(start, hook):
    """As with the built-in queue."""
    daemon = start()
    answer = daemon.ask(
        "POST",
        "/async-function/quick/echo?x=1",
        b"hello",
        {"X-Callback-Url": hook.url("/done"), "X-Call-Id": "mine"},
    )
    assert answer.status == 202, answer
    told = hook.wait(1, "/done")[0]
    assert told.body == b"hello"
    assert told.headers["x-call-id"] == "mine"
    assert told.headers["x-function-status"] == "200"
    daemon.wait_healthy()
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log


def test_what_the_queue_cannot_do_is_said(start):
    """400 for a call that asks for it, 501 for a person who does."""
    daemon = start()
    for header, value in (("X-Priority", "5"), ("Idempotency-Key", "k")):
        answer = daemon.ask("POST", "/async-function/quick", b"x", {header: value})
        assert answer.status == 400
        assert header.encode() in answer.body
    assert daemon.ask("POST", "/async-function/quick", b"x" * 1_100_000).status == 413
    call = daemon.put("quick", b"x")
    assert daemon.ask("DELETE", f"/async-function/{call}").status == 501
    daemon.wait_healthy()
    listed = daemon.cli("calls", "list", "--json")
    assert listed.returncode == 1
    assert "cannot show its calls" in listed.stderr


@pytest.mark.parametrize(
    ("method", "path", "said"),
    [
        ("GET", "", "cannot show its calls"),
        ("GET", "/ID", "cannot show its calls"),
        ("GET", "/ID?wait=60s", "cannot show its calls"),
        ("GET", "/ID/request", "cannot show its calls"),
        ("GET", "/ID/request/body", "cannot show its calls"),
        ("GET", "/ID/result", "keeps no results"),
        ("GET", "/ID/result?wait=60s", "cannot show its calls"),
        ("GET", "/ID/result/body?wait=60s", "cannot show its calls"),
        ("POST", "/ID/requeue", "cannot requeue dead letters"),
        ("POST", "/ID/cancel", "cannot cancel calls"),
        ("DELETE", "/ID", "cannot show its calls"),
        ("POST", "/requeue", "cannot requeue dead letters"),
        ("POST", "/purge?state=dead", "cannot show its calls"),
    ],
)
def test_the_calls_api_says_what_it_cannot(told, method, path, said):
    """501 with the reason, at once also for those that would wait; for a call that is over as for one that nobody knows."""
    daemon, call = told
    for identity in (call, "nobody-knows"):
        began = time.monotonic()
        answer = daemon.system(method, f"/system/calls{path.replace('ID', identity)}")
        assert (answer.status, answer.json()) == (501, {"error": f"this queue {said}"})
        assert time.monotonic() - began < 20


@pytest.fixture(scope="module")
def told(tmp_path_factory, shared_broker):
    """A daemon that has run a call, and the call."""
    root = tmp_path_factory.mktemp("daemon")
    queue = {"backend": "nats-streaming", "options": shared_broker.options()}
    daemon = Daemon(root, {"quick": service(root)}, queue=queue)
    daemon.start()
    try:
        call = daemon.put("quick/tell", b"x")
        until(lambda: bodies(daemon) == ["x"])
        yield daemon, call
    finally:
        daemon.close()


@pytest.mark.parametrize("words", [("wait",), ("result",), ("show",), ("requeue",), ("cancel",)])
def test_the_command_line_says_what_it_cannot(told, words):
    """One sentence, exit status 1."""
    daemon, call = told
    done = daemon.cli("calls", *words, call)
    assert (done.returncode, done.stdout) == (1, "")
    assert "this queue " in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_figures_and_pauses_work_all_the_same(told):
    """What the daemon knows without asking the broker."""
    daemon, _ = told
    shown = daemon.system("GET", "/system/queue").json()
    assert (shown["backend"], shown["capabilities"]["inspect"]) == ("nats-streaming", False)
    assert daemon.system("POST", "/system/queue/quick/pause").json()["paused"]
    daemon.put("quick/tell", b"later")
    assert daemon.cli("queue", "resume", "quick").returncode == 0
    until(lambda: bodies(daemon) == ["x", "later"])


def test_delays_retries_and_large_bodies_work(start):
    """Through the broker and back."""
    daemon = start()
    due = time.time() + 0.4
    daemon.put("quick/tell", b"later", {"X-Delay": "400ms"})
    daemon.put("quick/fail/2", b"twice")
    daemon.put("quick/tell", b"L" * 700_000)
    until(lambda: "later" in bodies(daemon))
    assert time.time() >= due
    until(lambda: len(bodies(daemon)) >= 5)
    assert bodies(daemon).count("twice") == 3
    assert [line["size"] for line in daemon.ran() if line["size"] > 5] == [700_000]
    until(lambda: not [path for path in daemon.spooled() if path.name != "journal"])


def test_calls_survive_the_death_of_the_daemon_and_of_the_brokers(start, broker):
    """Accepted, then everything is killed: all of them run."""
    daemon = start()
    names = [f"call-{number}" for number in range(60)]
    for name in names[:30]:
        daemon.put("quick/tell", name.encode())
    daemon.kill()
    broker.stan.kill()
    broker.nats.kill()
    broker.start()
    daemon.start()
    until(lambda: daemon.ask("POST", "/async-function/quick/tell", names[30].encode()).status == 202)
    for name in names[31:]:
        daemon.put("quick/tell", name.encode())
    until(lambda: set(names) <= set(bodies(daemon)), within=30)
    assert "Traceback" not in daemon.log


def test_a_broker_that_is_away_is_told_and_forgiven(start, broker):
    """503 with the reason while it is away, unhealthy, and all is well again by itself; a stop in between is in order."""
    daemon = start()
    daemon.wait_healthy()
    broker.stan.kill()
    answer = daemon.ask("POST", "/async-function/quick/tell", b"refused")
    assert answer.status == 503
    assert b"NATS Streaming" in answer.body
    assert int(answer.headers["retry-after"]) > 0
    until(lambda: daemon.ask("GET", "/healthz").status == 503)
    broker.stan.start()
    until(lambda: daemon.ask("POST", "/async-function/quick/tell", b"taken").status == 202)
    until(lambda: "taken" in bodies(daemon))
    assert "refused" not in bodies(daemon)
    broker.stop()
    assert daemon.stop(within=60) == 0
    assert "Traceback" not in daemon.log


def test_an_openfaas_form_daemon_feeds_itself(start, hook):
    """HTTP in, JSON through the broker, HTTP out."""
    daemon = start(options={"format": "openfaas"})
    daemon.ask("POST", "/async-function/quick/echo", b"json", {"X-Callback-Url": hook.url("/done")})
    assert hook.wait(1, "/done")[0].body == b"json"
    assert daemon.ask("POST", "/async-function/quick", b"x", {"X-Delay": "1s"}).status == 400


def test_a_wrong_option_stops_the_start_with_its_name(tmp_path, broker):
    """One sentence, exit status 2, no traceback."""
    daemon = Daemon(tmp_path, {}, queue={"backend": "nats-streaming", "options": broker.options(durabel="x")})
    daemon.start(wait=False)
    assert daemon.wait(20) == 2
    assert "queue.options.durabel: there is no such setting" in daemon.log
    assert "Traceback" not in daemon.log


def test_plugins_list_tells_what_it_can(start):
    """The command line shows the backend and its abilities."""
    daemon = start()
    done = daemon.cli("plugins", "list", "--json")
    assert done.returncode == 0, done.stderr
    assert "nats-streaming" in json.dumps(json.loads(done.stdout))


def test_plugins_check_takes_a_call_through_its_life_cycle(tmp_path, broker):
    """The smoke test of the command line, against the running broker."""
    daemon = Daemon(tmp_path, {}, queue={"backend": "nats-streaming", "options": broker.options()})
    done = daemon.cli("plugins", "check")
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert "nats-streaming" in done.stdout
