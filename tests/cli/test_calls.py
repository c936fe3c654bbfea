"""`calls`: the queue of the running daemon, from the outside."""

import json
import os
import pty
import sys
from types import SimpleNamespace

import pytest

from faasd_py.cli.terminal import Progress, clean
from faasd_py.core.call import Call
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Attempt, Outcome


def test_list(cli, house):
    """A table, newest first; control characters that callers wrote are escaped."""
    first = house.queue.add()
    second = house.queue.add(State.DEAD, status=503, attempts=3, reason="bad\x1b[31m")
    said = cli("calls", "list")
    assert (said.status, said.err) == (0, "")
    head, newest, oldest = said.out.splitlines()
    assert head.split() == ["ID", "FUNCTION", "STATE", "TRIES", "STATUS", "ACCEPTED", "REASON"]
    assert newest.split() == [
        second,
        "resize.openfaas-fn",
        "dead",
        "3",
        "503",
        "2023-11-14T22:13:22.000Z",
        r"bad\x1b[31m",
    ]
    assert oldest.split()[:5] == [first, "resize.openfaas-fn", "ready", "0", "-"]


def test_list_as_json(cli, house):
    """An array, with everything that is known."""
    call = house.queue.add(State.DEAD, reason="expired")
    (shown,) = json.loads(cli("calls", "list", "--json").out)
    assert (shown["id"], shown["state"], shown["reason"]) == (call, "dead", "expired")
    assert json.loads(cli("calls", "list", "--json", "--state", "done").out) == []


def test_list_filters_and_pages(cli, house):
    """By state, function, number; --before is the next page; many pages are fetched one by one."""
    for number in range(2500):
        house.queue.add(State.DEAD if number % 2 else State.READY, lane=f"f{number % 3}.openfaas-fn")

    def ids(*words):
        return [call["id"] for call in json.loads(cli("calls", "list", "--json", *words).out)]

    everything = sorted(house.queue.calls, reverse=True)
    assert ids() == everything[:20]
    assert ids("--limit", "3") == everything[:3]
    assert ids("--limit", "3", "--before", everything[2]) == everything[3:6]
    assert ids("--limit", "100000") == everything
    assert len(ids("--limit", "9999", "--state", "dead", "--function", "f1")) == len(
        [r for r in house.queue.calls.values() if r.state is State.DEAD and r.lane == "f1.openfaas-fn"]
    )


def test_an_empty_list(cli, house):
    """The head alone."""
    assert len(cli("calls", "list").out.splitlines()) == 1


def test_show(cli, house):
    """What is known of a call, a line each, and the history of its attempts."""
    history = (
        Attempt(number=1, started_at=1_700_000_000.5, duration=0.25, status=503, reason="status"),
        Attempt(number=2, started_at=1_700_000_010.0, duration=1, status=200),
    )
    call = house.queue.add(State.DONE, status=200, attempts=2, history=history, callback_url="http://x/")
    lines = cli("calls", "show", "call-1").out.splitlines()
    assert f"id:            {call}" in lines
    assert "callback:      http://x/" in lines
    assert lines[-2:] == [
        "attempt 1:     2023-11-14T22:13:20.500Z 503 (status) in 0.25 s",
        "attempt 2:     2023-11-14T22:13:30.000Z 200 in 1 s",
    ]
    assert json.loads(cli("calls", "show", call, "--json").out)["history"][0]["status"] == 503


def test_show_bodies(cli, house):
    """The request's and the answer's body as they are; everything about them as JSON."""
    call = house.queue.add(State.DONE)
    house.queue.requests[call] = Call(lane="a.b", target=b"/x", body=b"the request")
    house.queue.results[call] = Outcome(status=201, body=b"the answer", size=10)
    assert cli("calls", "show", call, "--request").out == "the request"
    assert cli("calls", "show", call, "--result").out == "the answer"
    assert json.loads(cli("calls", "show", call, "--request", "--json").out)["target"] == "/x"
    assert json.loads(cli("calls", "show", call, "--result", "--json").out)["status"] == 201


@pytest.mark.parametrize(
    "words", [["show", "x"], ["show", "x", "--result"], ["show", "x", "--json"], ["cancel", "x"]]
)
def test_unknown(cli, house, words):
    """The daemon's own sentence, status 1, nothing on stdout but what JSON needs."""
    said = cli("calls", *words)
    assert (said.status, said.out, said.err) == (1, "", "faasd-py: call x not found\n")


def test_cancel(cli, house):
    """One or many; what is refused does not keep the others from it, and the status is 1."""
    waiting, done, dead = (house.queue.add(state) for state in (State.READY, State.DONE, State.DEAD))
    said = cli("calls", "cancel", waiting, done, dead)
    assert said.status == 1
    assert said.out == f"{waiting} cancelled\n{dead} cancelled\n"
    assert said.err == f"faasd-py: call {done} is done already\n"
    assert house.queue.calls[dead].state is State.CANCELLED


def test_cancel_as_json(cli, house):
    """What became of each."""
    call = house.queue.add()
    assert json.loads(cli("calls", "cancel", call, "--json").out) == [{"id": call, "state": "cancelled"}]


def test_requeue_by_id(cli, house):
    """Dead calls only."""
    dead = house.queue.add(State.DEAD)
    assert cli("calls", "requeue", dead).out == f"{dead} requeued\n"
    said = cli("calls", "requeue", dead)
    assert (said.status, said.err) == (
        1,
        f"faasd-py: call {dead} is waiting: only dead calls can be requeued\n",
    )


def test_requeue_many(cli, house):
    """All, or all of a function, by thousands; the count at the end."""
    for number in range(2300):
        house.queue.add(State.DEAD, lane="one.openfaas-fn" if number < 100 else "two.openfaas-fn")
    assert cli("calls", "requeue", "--function", "one").out == "100 calls requeued\n"
    assert cli("calls", "requeue", "--all").out == "2200 calls requeued\n"
    assert json.loads(cli("calls", "requeue", "--all", "--json").out) == {"count": 0}


def test_requeue_ends_although_calls_die_again(cli, house):
    """It stops when it has done as many as there were, else it might go on for ever."""
    for _ in range(1500):
        house.queue.add(State.DEAD)

    async def requeue_all(which, limit=1000):
        return limit  # they are dead again at once

    house.queue.requeue_all = requeue_all
    assert cli("calls", "requeue", "--all").out == "2000 calls requeued\n"


def test_purge(cli, house):
    """By id, by state, by function; never what runs."""
    dead, running = house.queue.add(State.DEAD), house.queue.add(State.LEASED)
    for _ in range(1001):
        house.queue.add(State.DONE)
    assert cli("calls", "purge", dead).out == f"{dead} purged\n"
    assert cli("calls", "purge", running).err == f"faasd-py: call {running} is running: cancel it first\n"
    assert cli("calls", "purge", "--state", "done", "--function", "resize").out == "1001 calls purged\n"
    house.queue.add(State.CANCELLED)
    assert cli("calls", "purge", "--state", "cancelled").out == "1 call purged\n"
    assert list(house.queue.calls) == [running]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["requeue"], "calls requeue: say which calls: their ids, or --function NAME, or --all"),
        (
            ["requeue", "x", "--all"],
            "calls requeue: say which calls: their ids, or --function NAME, or --all",
        ),
        (["purge"], "calls purge: say which calls: their ids, or --state STATE, or --function NAME"),
        (
            ["purge", "x", "--state", "dead"],
            "calls purge: say which calls: their ids, or --state STATE, or --function NAME",
        ),
    ],
)
def test_say_which(cli, words, sentence):
    """Nothing is done by accident: status 2, before the daemon is even asked."""
    said = cli("calls", *words)
    assert (said.status, said.err) == (2, f"faasd-py: {sentence}\n")


def test_a_bad_function_name(cli, house):
    """The daemon's sentence."""
    said = cli("calls", "list", "--function", "a b")
    assert (said.status, said.out) == (1, "")
    assert "function: expected NAME" in said.err


def test_progress_is_for_terminals(monkeypatch):
    """On a terminal the line is rewritten and gone at the end; in a pipe there is none."""
    leader, follower = pty.openpty()
    with os.fdopen(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        progress = Progress("purged", 3000)
        progress.show(1000)
        progress.clear()
        written = b""
        while not written.endswith("…\r\x1b[K".encode()):
            written += os.read(leader, 1000)
    os.close(leader)
    assert "purged 1000 of 3000 …" in written.decode()


def test_progress_is_silent_in_a_pipe(cli, house):
    """Nothing on stderr."""
    house.queue.add(State.DEAD)
    assert cli("calls", "requeue", "--all").err == ""


def test_clean():
    """Printable text stays, everything else is escaped."""
    assert clean("é ☃\x1b[0m\n\u202e") == "é ☃\\x1b[0m\\n\\u202e"


def test_functions(cli, house):
    """A line for each function; or JSON."""
    house.metrics.meter("resize.openfaas-fn").begin()
    head, resize, remote = cli("functions").out.splitlines()
    assert head.split() == ["NAME", "NAMESPACE", "MODE", "REPLICAS", "INFLIGHT", "CALLS", "TROUBLE"]
    assert resize.split() == ["resize", "openfaas-fn", "fork", "1/2", "1", "1"]
    assert remote.split()[:3] == ["remote", "openfaas-fn", "url"]
    assert json.loads(cli("functions", "--json").out)[0]["name"] == "resize"


def test_the_queue_is_in_trouble(cli, house):
    """The daemon's sentence, whatever it is."""
    house.queue.capabilities = house.queue.capabilities.__class__(durable=False)
    said = cli("calls", "list")
    assert (said.status, said.err) == (1, "faasd-py: this queue cannot show its calls\n")


def test_something_else_listens(cli, tmp_path):
    """Not the daemon: one sentence, status 1."""
    import socket
    import threading

    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "admin.sock"))
        server.listen()

        def serve():
            connection = server.accept()[0]
            with connection:
                connection.recv(65536)
                connection.sendall(b"nonsense\r\n\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        said = cli("calls", "list")
        thread.join()
    assert said.status == 1
    assert said.err.startswith(f"faasd-py: the daemon cannot be asked at {tmp_path}/admin.sock: ")


def test_a_socket_that_is_not_ours(cli, tmp_path):
    """Permission denied says what to do (root may do everything, so it is another user here)."""
    from faasd_py.cli.errors import Failed
    from faasd_py.cli.remote import Remote

    class Refusing:
        sock = None

        def request(self, *words):
            raise PermissionError(13, "Permission denied")

    admin = Remote(SimpleNamespace(gateway=None, config=str(tmp_path / "config.toml")))
    admin._connection = Refusing()
    with pytest.raises(Failed, match=r"admin.sock: permission denied: be root or the daemon's own user"):
        admin.get("queue")
