"""An operator follows calls through the door: waits for their end, reads their results, hears what happens."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest

from tests.house.daemon import Daemon, running, service
from tests.house.events import Events
from tests.house.patience import until
from tests.house.wire import dial, until_bytes

SOON = {"attempts": 2, "min_wait": "10ms", "max_wait": "20ms"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("api")
    with running(root, {"api": service(root, retry=SOON, max_inflight=64)}, auth={"enabled": True}) as one:
        one.wait_healthy()
        yield one


class Later:
    """A request in a thread of its own."""

    def __init__(self, ask: Callable[[], Any]) -> None:
        self.answers: list[Any] = []
        self._thread = threading.Thread(target=lambda: self.answers.append(ask()), daemon=True)
        self._thread.start()

    @property
    def open(self) -> bool:
        return not self.answers

    def answer(self) -> Any:
        self._thread.join(30)
        assert self.answers, "no answer within 30 s"
        return self.answers[0]


def later(daemon: Daemon, target: str) -> Later:
    return Later(lambda: daemon.system("GET", target))


def test_waiting_for_the_end(daemon: Daemon) -> None:
    """The answer comes when the call is over: the call, its result, its body."""
    call = daemon.put("api/gate/a")
    waiting = [
        later(daemon, f"/system/calls/{call}{rest}?wait=60s") for rest in ("", "/result", "/result/body")
    ]
    daemon.wait_state(call, "LEASED")
    assert all(one.open for one in waiting)
    assert daemon.ask("GET", "/function/api/open/a").status == 200
    shown, result, body = (one.answer() for one in waiting)
    assert (shown.status, shown.json()["state"], shown.json()["status"]) == (200, "done", 200)
    assert (result.status, result.json()["status"]) == (200, 200)
    assert (body.status, body.body) == (200, b"through\n")
    assert daemon.system("GET", f"/system/calls/{call}/result/body?wait=60s").body == b"through\n"


def test_waiting_by_the_callers_own_id(daemon: Daemon) -> None:
    """The newest call that has it, and that one to its end."""
    daemon.wait_state(daemon.put("api/echo", b"old", {"X-Call-Id": "order-17"}), "DONE")
    daemon.put("api/gate/b", b"", {"X-Call-Id": "order-17"})
    waiting = later(daemon, "/system/calls/order-17/result/body?wait=60s")
    newer = daemon.put("api/echo", b"newer", {"X-Call-Id": "order-17"})
    daemon.wait_state(newer, "DONE")
    assert daemon.ask("GET", "/function/api/open/b").status == 200
    assert waiting.answer().body in {b"through\n", b"newer"}


def test_waiting_in_vain(daemon: Daemon) -> None:
    """When the time is over the call is answered as it stands: 200, and 202 in a result's place."""
    call = daemon.put("api/echo", b"", {"X-Delay": "1h"})
    assert daemon.system("GET", f"/system/calls/{call}?wait=50ms").json()["state"] == "delayed"
    answer = daemon.system("GET", f"/system/calls/{call}/result?wait=50ms")
    assert (answer.status, answer.json()["state"]) == (202, "delayed")
    assert daemon.system("GET", f"/system/calls/{call}/result").status == 404


@pytest.mark.parametrize("way", ["api", "door"])
def test_a_cancel_ends_the_wait(daemon: Daemon, way: str) -> None:
    """Whoever cancels, and although no worker ever had the call."""
    call = daemon.put("api/echo", b"", {"X-Delay": "1h"})
    waiting = later(daemon, f"/system/calls/{call}?wait=60s")
    with Events(daemon, "?event=call.cancelled") as events:
        if way == "api":
            assert daemon.system("POST", f"/system/calls/{call}/cancel").status == 200
        else:
            assert daemon.ask("DELETE", f"/async-function/{call}").status == 202
        assert events.until("call.cancelled", id=call)["function"] == "api.openfaas-fn"
    assert waiting.answer().json()["state"] == "cancelled"


def test_a_dead_call_ends_the_wait(daemon: Daemon) -> None:
    """With what the function said last."""
    call = daemon.put("api/status/503")
    answer = daemon.system("GET", f"/system/calls/{call}/result?wait=60s")
    assert (answer.status, answer.json()["status"]) == (200, 503)
    assert daemon.system("GET", f"/system/calls/{call}?wait=60s").json()["state"] == "dead"


@pytest.mark.parametrize(
    ("wait", "sentence"),
    [
        ("soon", 'wait: expected a duration like "250ms", "10s" or "1m30s", got \'soon\''),
        ("11m", "wait: expected at most 10m, got '11m'"),
        ("-1", 'wait: expected a duration like "250ms", "10s" or "1m30s", got \'-1\''),
    ],
)
def test_bad_waits(daemon: Daemon, wait: str, sentence: str) -> None:
    """400 with the reason."""
    answer = daemon.system("GET", f"/system/calls/x?wait={wait}")
    assert (answer.status, answer.json()) == (400, {"error": sentence})
    assert daemon.system("GET", "/system/calls/x?wait=1s&x=1").status == 400
    assert daemon.system("GET", "/system/calls/nobody?wait=10s").status == 404


def test_many_wait_while_calls_run(daemon: Daemon) -> None:
    """Each gets the end of its own call."""
    calls = [daemon.put("api/echo", b"%d" % number, {"X-Delay": "300ms"}) for number in range(40)]
    waiting = [later(daemon, f"/system/calls/{call}/result/body?wait=60s") for call in calls]
    assert [one.answer().body for one in waiting] == [b"%d" % number for number in range(40)]


def test_who_hangs_up_leaves_nothing_behind(daemon: Daemon) -> None:
    """256 may wait at once: far more who come and go in turn find room."""
    call = daemon.put("api/gate/c")
    head = f"GET /system/calls/{call}?wait=9m HTTP/1.1\r\nHost: x\r\n".encode()
    head += "".join(f"{name}: {value}\r\n" for name, value in daemon.authorization.items()).encode() + b"\r\n"
    for _ in range(4):
        wires = [dial(daemon.port) for _ in range(100)]
        for wire in wires:
            wire.sendall(head)
        for wire in wires:
            wire.close()
    until(
        lambda: daemon.system("GET", f"/system/calls/{call}?wait=10ms").status == 200,
        within=30,
        every=0.1,
        what="there is room",
    )
    assert daemon.ask("GET", "/function/api/open/c").status == 200


def test_the_life_of_a_call_as_events(daemon: Daemon) -> None:
    """Put, started, failed, started again, dead; requeued, and dead once more."""
    with Events(daemon, "?function=api&event=call.,calls.") as events:
        call = daemon.put("api/status/500", b"secret", {"X-Call-Id": "mine", "X-Secret": "secret"})
        seen = []
        while not seen or seen[-1]["event"] != "call.dead":
            event = events.next()
            assert event is not None
            if event["id"] == call:
                seen.append(event)
        put = next(event for event in seen if event["event"] == "call.put")
        seen.remove(put)  # its place among the others is a matter of microseconds
        assert [event["event"] for event in seen] == [
            "call.started", "call.retry", "call.started", "call.dead",
        ]  # fmt: skip
        assert [event["attempt"] for event in seen] == [1, 1, 2, 2]
        assert {event["call_id"] for event in [put, *seen]} == {"mine"}
        assert {event["function"] for event in [put, *seen]} == {"api.openfaas-fn"}
        assert (seen[-1]["status"], seen[-1]["reason"]) == (500, "attempts")
        assert seen[-1]["duration"] > 0
        assert "secret" not in str([put, *seen])
        assert daemon.system("POST", f"/system/calls/{call}/requeue").status == 200
        events.until("call.requeued", id=call)
        events.until("call.dead", id=call)


def test_reloads_are_events(daemon: Daemon) -> None:
    """Taken and refused."""
    with Events(daemon, "?event=config.") as events:
        daemon.reload()
        assert events.until("config.reloaded")["functions"] == 1
        good = daemon.config.read_text()
        daemon.config.write_text("[gatewy]\n")
        daemon.send(signal.SIGHUP)
        assert "gatewy" in events.until("config.refused")["reason"]
        daemon.config.write_text(good)


def test_events_after_a_break(daemon: Daemon) -> None:
    """Nothing is missed by who comes back within a minute."""
    with Events(daemon, "?event=call.put") as events:
        first = daemon.put("api/echo")
        events.until("call.put", id=first)
        last = events.last
    second = daemon.put("api/echo")
    with Events(daemon, "?event=call.put", since=last) as events:
        event = events.next()
        assert event is not None
        assert event["id"] == second


def test_a_stop_does_not_wait_for_those_who_wait(start: Callable[..., Daemon], tmp_path) -> None:
    """Streams end with one last event, waits with the call as it stands; the daemon is gone long before its grace is."""
    daemon = start({"api": service(tmp_path)}, workers={"grace": "60s"}, auth={"enabled": True})
    daemon.wait_healthy()
    call = daemon.put("api/echo", b"", {"X-Delay": "1h"})
    waiting = later(daemon, f"/system/calls/{call}?wait=9m")
    with Events(daemon) as events, closing(dial(daemon.port)) as other:
        other.sendall(b"GET /system/events HTTP/1.1\r\nHost: x\r\n")
        for name, value in daemon.authorization.items():
            other.sendall(f"{name}: {value}\r\n".encode())
        other.sendall(b"\r\n")
        until_bytes(other, b"\n\n")
        daemon.send(signal.SIGTERM)
        events.until("daemon.stopping")
        assert events.next() is None
        assert waiting.answer().json()["state"] == "delayed"
        assert daemon.wait(30) == 0
    daemon.start()
    assert daemon.wait_state(call, "DELAYED")["id"] == call
