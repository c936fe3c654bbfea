"""The answer of an asynchronous call is posted to whoever asked for it: signed, tried again, and never lost."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, running, script, service
from tests.house.patience import until
from tests.house.receivers import Received, Receiver

SECRET = base64.b64encode(b"a secret of more than 24 bytes!!").decode()
OLD = base64.b64encode(b"the secret that was before this!").decode()
SOON = {"attempts": 2, "min_wait": "10ms", "max_wait": "20ms"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("callbacks")
    for name, secret in (("new", SECRET), ("old", OLD)):
        (root / name).write_text(f"whsec_{secret}\n")
    functions = {
        "api": service(root, retry=SOON),
        "fails": script(root, "fail", "3", retry=SOON),
        "note": script(root, "note"),
        "down": {"url": "http://127.0.0.1:1", "retry": SOON},
    }
    callback = {"secrets": [str(root / "new"), str(root / "old")], "schedule": ["50ms"] * 3, "timeout": "1s"}
    with running(root, functions, callback=callback) as one:
        one.wait_healthy()
        yield one


def signature(secret: str, request: Received) -> str:
    """Standard webhooks: HMAC-SHA256 over id, time and body, as a receiver computes it."""
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    digest = hmac.digest(base64.b64decode(secret), signed + request.body, hashlib.sha256)
    return "v1," + base64.b64encode(digest).decode()


def test_the_answer_is_posted_with_what_came_of_it(daemon: Daemon, hook: Receiver) -> None:
    """Body and end-to-end headers of the answer, and the headers that OpenFaaS receivers read."""
    call = daemon.put(
        "api/echo", b"the answer", {"X-Callback-Url": hook.url(), "Content-Type": "text/answer"}
    )
    (got,) = hook.wait()
    assert (got.method, got.body, got.headers["content-type"]) == ("POST", b"the answer", "text/answer")
    assert got.headers["x-call-id"] == call
    assert got.headers["x-function-name"] in {"api", "api.openfaas-fn"}
    assert (got.headers["x-function-status"], got.headers["x-retry"]) == ("200", "0")
    assert got.headers["x-retry-max"] == "1"
    assert re.fullmatch(r"\d+\.\d{6}", got.headers["x-duration-seconds"])
    assert got.headers["host"] == f"{hook.host}:{hook.port}"


def test_it_is_signed_with_both_secrets(daemon: Daemon, hook: Receiver) -> None:
    """Standard webhooks' three headers; while rotating, both secrets verify."""
    daemon.put("api/echo", b"signed", {"X-Callback-Url": hook.url()})
    (got,) = hook.wait()
    assert abs(int(got.headers["webhook-timestamp"]) - time.time()) < 60
    assert got.headers["webhook-id"]
    assert set(got.headers["webhook-signature"].split()) == {signature(SECRET, got), signature(OLD, got)}


def test_the_query_of_the_url_is_kept(daemon: Daemon, hook: Receiver) -> None:
    """The target is the URL's path and query."""
    daemon.put("api/echo", b"", {"X-Callback-Url": hook.url("/a/b?token=x%20y&z#fragment")})
    hook.wait(path="/a/b?token=x%20y&z")


def test_a_failure_is_posted_when_it_is_given_up(daemon: Daemon, hook: Receiver) -> None:
    """One callback, after the last attempt, with that attempt's answer."""
    daemon.put("fails", b"", {"X-Callback-Url": hook.url()})
    (got,) = hook.wait()
    assert got.headers["x-function-status"] == "500"
    assert (got.headers["x-retry"], got.headers["x-retry-max"]) == ("1", "1")
    assert got.body == b"exit status 3\nwhat came so far\n"


def test_failures_go_to_the_failure_url_if_there_is_one(daemon: Daemon, hook: Receiver) -> None:
    """Success to the one, failure to the other."""
    urls = {"X-Callback-Url": hook.url("/good"), "X-Callback-Failure-Url": hook.url("/bad")}
    daemon.put("api/status/200", b"", urls)
    daemon.put("api/status/500", b"", urls)
    assert hook.wait(path="/good")[0].headers["x-function-status"] == "200"
    assert hook.wait(path="/bad")[0].headers["x-function-status"] == "500"
    assert (len(hook.at("/good")), len(hook.at("/bad"))) == (1, 1)


def test_a_function_that_cannot_be_reached_calls_back_with_5xx(daemon: Daemon, hook: Receiver) -> None:
    """The status says so."""
    daemon.put("down", b"", {"X-Callback-Url": hook.url()})
    assert hook.wait()[0].headers["x-function-status"] in {"502", "503"}


def test_the_callers_credentials_do_not_travel(daemon: Daemon, hook: Receiver) -> None:
    """Authorization and Cookie reach the function, never the callback, and are not in the log."""
    sent = {"Authorization": "Bearer hidden-1", "Cookie": "s=hidden-2", "X-Callback-Url": hook.url()}
    daemon.put("api/status/200/credentials", b"", sent)
    (got,) = hook.wait()
    assert "hidden" not in str(got.headers)
    assert "hidden-1" in str(daemon.ran("/status/200/credentials"))
    assert "hidden" not in daemon.log


def test_it_is_tried_until_it_is_taken(daemon: Daemon, hook: Receiver) -> None:
    """Errors and a redirect are not deliveries; each attempt has the same webhook id; the function ran once."""
    hook.answers(500, 302, 200)
    call = daemon.put("api/status/200/again", b"", {"X-Callback-Url": hook.url()})
    got = hook.wait(3)
    assert len({one.headers["webhook-id"] for one in got}) == 1
    assert all(signature(SECRET, one) in one.headers["webhook-signature"] for one in got)
    assert len(daemon.ran("/status/200/again")) == 1
    assert daemon.state_of(call) == "DONE"


def test_410_stops_it(daemon: Daemon, hook: Receiver) -> None:
    """Gone is gone: a dead letter after one attempt, for whoever wants to look."""
    hook.answers(410)
    daemon.put("api/echo", b"gone", {"X-Callback-Url": hook.url()})
    hook.wait()
    letter = until(lambda: dead(daemon, hook), what="a dead letter")
    assert (letter["attempts"], letter["status"]) == (1, 410)
    assert len(hook.at("/hook")) == 1


def test_an_undeliverable_callback_is_a_dead_letter(daemon: Daemon, hook: Receiver) -> None:
    """After the schedule's attempts it is kept, and a requeue delivers it."""
    hook.answers(500, 500, 500, 500, 200)
    daemon.put("api/echo", b"at last", {"X-Callback-Url": hook.url()})
    letter = until(lambda: dead(daemon, hook), what="a dead letter")
    assert (letter["attempts"], letter["status"]) == (4, 500)
    assert daemon.cli("calls", "requeue", letter["id"]).returncode == 0
    assert hook.wait(5)[4].body == b"at last"


def dead(daemon: Daemon, hook: Receiver) -> dict | None:
    """The dead letter of this receiver's lane."""
    for letter in daemon.listed("--state", "dead"):
        if letter["function"] == f"callback:{hook.host}:{hook.port}":
            return letter
    return None


def test_a_receiver_that_does_not_answer_is_given_up(daemon: Daemon, hook: Receiver) -> None:
    """The timeout ends the attempt; the next one is delivered."""
    first = []

    def reply(_: Received):
        first.append(1)
        if len(first) == 1:
            time.sleep(3)
        return 204, {}, b""

    hook.reply = reply
    daemon.put("api/echo", b"", {"X-Callback-Url": hook.url()})
    one, two = hook.wait(2)
    assert 0.9 < two.at - one.at < 3


def test_our_own_gateway_is_called_inside(daemon: Daemon) -> None:
    """`http://gateway:8080/function/…`, as OpenFaaS users write it, runs our function, whatever port we listen on."""
    hosts = ["gateway:8080", "gateway", f"127.0.0.1:{daemon.port}", "gateway.openfaas:8080"]
    for host in hosts:
        url = f"http://{host}/function/note/inside?h={host}"
        daemon.put("api/echo", host.encode(), {"X-Callback-Url": url})
    until(
        lambda: {line["body"] for line in daemon.ran('"size"') if line["call"]} >= set(hosts),
        what="all four notes",
    )


def test_an_asynchronous_call_may_be_the_callback(daemon: Daemon) -> None:
    """`http://gateway/async-function/…`: the next call is queued with the answer as its body, under the same call id."""
    url = "http://gateway:8080/async-function/api/tell/next"
    call = daemon.put("api/echo", b"chained", {"X-Callback-Url": url})
    (ran,) = until(lambda: daemon.ran('"target": "/tell/next'))
    assert (ran["body"], ran["call"]) == ("chained", call)


@pytest.mark.parametrize("size", [300_000, 5_000_000])
def test_a_large_answer_is_delivered_whole(daemon: Daemon, hook: Receiver, size: int) -> None:
    """Larger than what is kept as a result, it is still all there for the callback; afterwards no file lies about."""
    daemon.put(f"api/big/{size}", b"", {"X-Callback-Url": hook.url()})
    assert hook.wait()[0].body == b"\xa5" * size
    until(lambda: not daemon.spooled(), what="the spool is empty")


def test_a_callback_survives_a_kill(start: Callable[..., Daemon], tmp_path: Path, hook: Receiver) -> None:
    """Killed between the answer and its delivery: delivered after the restart, and the function is not run again."""
    hook.answers(503)
    daemon = start({"api": service(tmp_path / "0")}, callback={"schedule": ["300ms"] * 20})
    daemon.put("api/big/400000", b"", {"X-Callback-Url": hook.url()})
    hook.wait()
    daemon.kill()
    hook.answers(200)
    delivered = len(hook.at("/hook"))
    daemon.start()
    assert hook.wait(delivered + 1)[-1].body == b"\xa5" * 400000
    assert len(daemon.ran("/big/400000")) == 1
    until(lambda: not daemon.spooled(), what="the spool is empty")


@pytest.mark.parametrize("host", ["localhost", "2130706434", "0x7f000002", "127.2"])
def test_the_guard_looks_at_the_address_that_is_connected_to(
    start: Callable[..., Daemon], tmp_path: Path, hook: Receiver, host: str
) -> None:
    """A name, or a spelling of an address, that turns out to be loopback: refused at delivery, nothing is sent."""
    settings = {"allow": ["public", "private"], "schedule": ["10ms"]}
    daemon = start({"api": service(tmp_path / "0")}, callback=settings, gateway={"names": ["gateway"]})
    url = f"http://{host}:{hook.port}/hook"
    answer = daemon.ask("POST", "/async-function/api/echo", b"", {"X-Callback-Url": url})
    if answer.status == 202:
        daemon.wait_healthy()
        (letter,) = until(lambda: daemon.listed("--state", "dead"), what="a dead letter")
        assert letter["reason"] in {"refused", "callback"}
    else:
        assert answer.status == 400
    assert hook.got == []
