"""Calls that are unusual and yet right: odd ids, other backends, settings that change in between."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.house.daemon import Daemon, free_port, running, script, service
from tests.house.patience import until
from tests.house.receivers import Receiver
from tests.house.wire import shout, statuses

Start = Callable[..., Daemon]
ONCE = {"attempts": 1}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("odd")
    functions = {
        "api": service(root, retry=ONCE),
        "note": script(root, "note"),
        "live": {"command": ["/bin/cat"], "mode": "stream"},
        "cat": {"command": ["/bin/cat"]},
    }
    with running(root, functions) as one:
        one.wait_healthy()
        yield one


@pytest.mark.parametrize(
    "call",
    [
        "x",
        "order/17?x=1",
        "../../etc/passwd",
        "ä ö",
        "a\tb",
        "<script>",
        "%2e%2e",
        "'; drop table calls; --",
        "i" * 2000,
    ],
)
def test_any_call_id_is_a_call_id(daemon: Daemon, call: str, hook: Receiver) -> None:
    """It travels to function and callback unchanged, finds the call, and does nothing else."""
    raw = call.encode("utf-8")
    fields = b"X-Call-Id: %s\r\nX-Callback-Url: %s\r\nConnection: close\r\n" % (raw, hook.url().encode())
    head = (
        b"POST /async-function/api/tell/odd HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + fields + b"\r\n"
    )
    answer = shout(daemon.port, head)
    assert statuses(answer) == [202], answer
    assert b"x-call-id: " + raw.lower() in answer.lower()
    (got,) = hook.wait()
    assert got.headers["x-call-id"].encode("latin-1") == raw
    key = answer.lower().partition(b"x-queue-id: ")[2].partition(b"\r")[0].decode()
    assert daemon.wait_state(key, "DONE")
    assert daemon.ask("DELETE", f"/async-function/{key}").status == 409


def test_a_call_id_that_looks_like_a_queue_id_harms_nobody(daemon: Daemon) -> None:
    """Somebody gives another call's own id as his: a cancel by that id means the call that owns it."""
    first = daemon.put("api/tell/own", b"", {"X-Delay": "1h"})
    second = daemon.put("api/tell/borrowed", b"", {"X-Delay": "1h", "X-Call-Id": first})
    assert daemon.ask("DELETE", f"/async-function/{first}").status == 202
    assert daemon.state_of(first) == "CANCELLED"
    assert daemon.state_of(second) in {"DELAYED", "CANCELLED"}
    daemon.ask("DELETE", f"/async-function/{second}")


def test_a_cancel_by_call_id_takes_all_that_have_it(daemon: Daemon) -> None:
    """A correlation id may repeat: every waiting call of it is cancelled."""
    calls = [daemon.put("api/tell", b"", {"X-Delay": "1h", "X-Call-Id": "family-1"}) for _ in range(3)]
    assert daemon.ask("DELETE", f"/async-function/{quote('family-1')}").status == 202
    assert [daemon.state_of(call) for call in calls] == ["CANCELLED"] * 3


@pytest.mark.parametrize("name", ["live", "cat", "note", "api/echo"])
def test_every_kind_of_function_can_be_called_asynchronously(
    daemon: Daemon, hook: Receiver, name: str
) -> None:
    """Small and large, and the callback has the whole answer."""
    for size in (0, 10, 700_000):
        body = base64.b64encode(bytes(size))
        daemon.put(name, body, {"X-Callback-Url": hook.url(f"/{size}")})
        (got,) = hook.wait(path=f"/{size}")
        assert got.body == (b"noted\n" if name == "note" else body)
        assert got.headers["x-function-status"] == "200"


def test_a_binary_body_and_an_empty_one_arrive_as_they_are(daemon: Daemon) -> None:
    """All byte values; and nothing."""
    body = bytes(range(256))
    daemon.put("api/tell/binary", body)
    daemon.put("api/tell/empty", b"")
    assert until(lambda: daemon.ran("/tell/binary"))[0]["body"].encode("latin-1") == body
    assert until(lambda: daemon.ran("/tell/empty"))[0]["size"] == 0


def test_options_on_a_synchronous_call_are_the_functions_own(daemon: Daemon) -> None:
    """They mean nothing there, and pass like any header."""
    told = daemon.ask("POST", "/function/api/tell", b"", {"X-Delay": "soon", "X-Priority": "99"}).json()
    assert dict(told["headers"])["X-Delay"] == "soon"


def test_a_memory_queue_does_the_same(start: Start, tmp_path: Path, hook: Receiver) -> None:
    """Delay, retry, callback and cancel with `backend = "memory"`; a restart forgets, as it says."""
    policy = {"attempts": 3, "min_wait": "10ms", "max_wait": "20ms"}
    daemon = start({"api": service(tmp_path / "0", retry=policy)}, queue={"backend": "memory"})
    daemon.put("api/fail/2/memory", b"m" * 500_000, {"X-Callback-Url": hook.url(), "X-Delay": "200ms"})
    (got,) = hook.wait()
    assert (got.headers["x-function-status"], got.headers["x-retry"]) == ("200", "2")
    waiting = daemon.put("api/tell/waits", b"", {"X-Delay": "1h"})
    assert daemon.ask("DELETE", f"/async-function/{waiting}").status == 202
    daemon.wait_healthy()
    assert daemon.state_of(waiting) == "CANCELLED"
    daemon.put("api/tell/forgotten", b"", {"X-Delay": "1h"})
    daemon.restart()
    daemon.wait_healthy()
    assert daemon.listed() == []
    assert daemon.spooled() == []


def test_a_url_function_is_called_where_it_is(start: Start, tmp_path: Path, hook: Receiver) -> None:
    """With its path before ours, headers and query; back when it is back."""
    port = free_port()
    functions = {
        "far": {"url": hook.url("/base"), "retry": ONCE},
        "away": {"url": f"http://127.0.0.1:{port}", "retry": ONCE},
    }
    daemon = start(functions)
    hook.reply = lambda request: (200, {"X-Saw": request.target}, b"far away")
    answer = daemon.ask("POST", "/function/far/a?b=c", b"x")
    assert (answer.status, answer.text, answer.headers["x-saw"]) == (200, "far away", "/base/a?b=c")
    assert daemon.ask("GET", "/function/away").status == 502


def test_callback_settings_change_with_a_reload(start: Start, tmp_path: Path, hook: Receiver) -> None:
    """What is allowed and how it is signed: in force for the next call."""
    daemon = start({"api": service(tmp_path / "0")}, callback={"allow": ["public"]})
    url = {"X-Callback-Url": hook.url()}
    assert daemon.ask("POST", "/async-function/api/echo", b"", url).status == 400
    secret = tmp_path / "secret"
    secret.write_text("whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode())
    daemon.tables["callback"] |= {"allow": ["loopback"], "secrets": [str(secret)]}
    daemon.reload()
    until(
        lambda: daemon.ask("POST", "/async-function/api/echo", b"", url).status == 202, what="it is allowed"
    )
    (got, *_) = hook.wait()
    assert got.headers["webhook-signature"].startswith("v1,")


def test_more_workers_after_a_reload(start: Start, tmp_path: Path) -> None:
    """`workers.max_inflight` from one to four while calls wait."""
    daemon = start({"api": service(tmp_path / "0")}, workers={"max_inflight": 1})
    for number in range(8):
        daemon.put(f"api/gate/w{number}")
    until(lambda: daemon.ran("/gate/w"), what="one runs")
    assert len(daemon.ran("/gate/w")) == 1
    daemon.tables["workers"]["max_inflight"] = 4
    daemon.reload()
    until(lambda: len(daemon.ran("/gate/w")) == 4, what="four run")


def test_a_function_is_removed_while_its_calls_run(start: Start, tmp_path: Path) -> None:
    """They finish; new ones are unknown; its process goes."""
    daemon = start({"api": service(tmp_path / "0"), "cat": {"command": ["/bin/cat"]}})
    call = daemon.put("api/later/1")
    until(lambda: daemon.ran(call), what="it runs")
    del daemon.tables["functions"]["api"]
    daemon.reload()
    until(lambda: daemon.ask("GET", "/function/api/tell").status == 404, what="it is unknown")
    daemon.wait_healthy()
    assert daemon.wait_state(call, "DONE")["attempts"] == 1
    pid = daemon.ran(call)[0]["pid"]
    until(lambda: pid not in daemon.family(), what="its process is gone")
