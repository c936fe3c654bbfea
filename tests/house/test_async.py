"""A stranger calls functions asynchronously: what is accepted, what is refused, and what the options do."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from tests.house.daemon import Daemon, running, script, service
from tests.house.patience import until
from tests.house.wire import dial, statuses, until_close

SOON = {"attempts": 3, "min_wait": "10ms", "max_wait": "50ms"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("async")
    functions = {
        "api": service(root, retry=SOON),
        "one": service(root, retry=SOON, max_inflight=1),
        "note": script(root, "note"),
        "sleeps": script(root, "sleep", retry=SOON),
        "rated": service(root, rate={"calls": 2, "per": "1h"}),
    }
    tables = {
        "gateway": {"max_body": "1MiB"},
        "callback": {"allow": ["public", "private"], "schedule": ["50ms"]},
    }
    with running(root, functions, **tables) as one:
        one.wait_healthy()
        yield one


def test_202_is_empty_and_names_the_call(daemon: Daemon) -> None:
    """Accepted: no body, the call's ids and the time."""
    answer = daemon.ask("POST", "/async-function/api/tell", b"x")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (202, b"", "0")
    assert answer.headers["x-call-id"] == answer.headers["x-queue-id"]
    assert uuid.UUID(answer.headers["x-call-id"]).version == 7
    assert abs(int(answer.headers["x-start-time"]) / 1e9 - time.time()) < 30


def test_the_function_gets_the_call_as_it_was_sent(daemon: Daemon) -> None:
    """POST, path, query, body and headers; of the options only the call id and the callback URL."""
    sent = {"X-Mine": "v", "Content-Type": "text/x", "X-Priority": "3", "X-Max-Age": "1h", "X-Timeout": "9s"}
    sent |= {
        "Idempotency-Key": "as-sent",
        "X-Max-Attempts": "2",
        "X-Delay": "1ms",
        "Authorization": "Basic eA==",
    }
    sent |= {"X-Callback-Url": "http://gateway/function/api/tell/called-back"}
    call = daemon.put("api/tell/as-sent?q=%20", b"the body", sent)
    (ran,) = until(lambda: daemon.ran('"target": "/tell/as-sent'))
    got = {name.lower(): value for name, value in ran["headers"]}
    assert (ran["method"], ran["target"], ran["body"]) == ("POST", "/tell/as-sent?q=%20", "the body")
    assert (got["x-mine"], got["content-type"], got["authorization"]) == ("v", "text/x", "Basic eA==")
    assert got["x-call-id"] == call
    assert got["x-callback-url"] == sent["X-Callback-Url"]
    assert not set(got) & {
        "x-priority",
        "x-max-age",
        "x-timeout",
        "idempotency-key",
        "x-max-attempts",
        "x-delay",
    }


def test_a_callers_own_call_id_is_kept(daemon: Daemon) -> None:
    """It travels to the function; the queue's own id is another and finds the call as well."""
    answer = daemon.ask("POST", "/async-function/api/tell/own", b"", {"X-Call-Id": "order-77"})
    assert answer.headers["x-call-id"] == "order-77"
    assert answer.headers["x-queue-id"] != "order-77"
    until(lambda: daemon.ran("/tell/own"))
    assert daemon.ran("/tell/own")[0]["call"] == "order-77"
    assert daemon.wait_state(answer.headers["x-queue-id"], "DONE")["call_id"] == "order-77"
    assert daemon.show("order-77")["id"] == answer.headers["x-queue-id"]


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "OPTIONS", "HEAD"])
def test_other_methods_are_405(daemon: Daemon, method: str) -> None:
    """Only POST queues; the answer is empty."""
    answer = daemon.ask(method, "/async-function/api")
    assert (answer.status, answer.body) == (405, b"")


@pytest.mark.parametrize("name", ["nobody", "nobody/path", "api.elsewhere"])
def test_unknown_functions_are_404(daemon: Daemon, name: str) -> None:
    """Not a silent 202."""
    assert daemon.ask("POST", f"/async-function/{name}", b"x").status == 404


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("X-Delay", "soon"), ("X-Delay", "-1s"), ("X-Delay", ""), ("X-Delay", "99999h"),
        ("X-Not-Before", "tomorrow"), ("X-Not-Before", "2026-12-24"), ("X-Not-Before", "2026-12-24T18:00:00"),
        ("X-Max-Age", "old"), ("X-Max-Attempts", "0"), ("X-Max-Attempts", "many"), ("X-Max-Attempts", "1.5"),
        ("X-Priority", "11"), ("X-Priority", "-11"), ("X-Priority", "high"), ("X-Priority", "1e1"),
        ("X-Timeout", "long"), ("Idempotency-Key", ""), ("Idempotency-Key", "k" * 256),
    ],
)  # fmt: skip
def test_a_bad_option_is_400_and_named(daemon: Daemon, header: str, value: str) -> None:
    """One line of text that names the header; nothing is kept."""
    answer = daemon.ask("POST", "/async-function/api/tell/bad-option", b"x", {header: value})
    assert (answer.status, answer.body.count(b"\n")) == (400, 1)
    assert header.lower() in answer.text.lower()
    assert not daemon.ran("/tell/bad-option")


@pytest.mark.parametrize(
    "url",
    [
        "/relative", "example.com/x", "ftp://example.com/", "http://", "http:///path", "http://example.com:99999/",
        "http://127.0.0.3:9/", "http://[::1]:9/", "http://169.254.169.254/latest/meta-data", "http://0.0.0.0/",
        "http://exa mple.com/", "javascript:alert(1)", "http://[fe80::1]/", "",
    ],
)  # fmt: skip
@pytest.mark.parametrize("header", ["X-Callback-Url", "X-Callback-Failure-Url"])
def test_an_unusable_callback_url_is_400(daemon: Daemon, header: str, url: str) -> None:
    """Relative, of another scheme, or an address that the guard refuses: the reason is in the one line."""
    answer = daemon.ask("POST", "/async-function/api/tell/bad-url", b"x", {header: url})
    assert (answer.status, answer.body.count(b"\n")) == (400, 1), answer
    assert not daemon.ran("/tell/bad-url")


def test_a_body_over_the_limit_is_413_before_it_is_sent(daemon: Daemon) -> None:
    """A declared length over `max_body` is refused at once; a chunked body as soon as it is over."""
    with dial(daemon.port) as wire:
        wire.sendall(
            b"POST /async-function/api/tell/large HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n"
        )
        assert statuses(until_close(wire)) == [413]
    pieces = iter([b"x" * 65536] * 24)
    assert daemon.ask("POST", "/async-function/api/tell/large", pieces).status == 413
    assert not daemon.ran("/tell/large")
    assert daemon.spooled() == []


def test_pipelined_calls_are_all_accepted(daemon: Daemon) -> None:
    """Three hundred in one write: three hundred receipts, each call runs."""
    one = b"POST /async-function/api/tell/piped HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n%s\r\nhi"
    with dial(daemon.port) as wire:
        wire.sendall(one % b"" * 299 + one % b"Connection: close\r\n")
        assert statuses(until_close(wire)) == [202] * 300
    until(lambda: len(daemon.ran("/tell/piped")) == 300, what="all of them ran")


def test_a_large_body_is_spooled_and_the_file_goes(daemon: Daemon) -> None:
    """Nearly a megabyte, with a length and chunked, arrives whole; afterwards nothing lies about."""
    for body in (b"L" * 1_000_000, iter([b"L" * 1000] * 1000)):
        answer = daemon.ask("POST", "/async-function/note/spooled", body)
        assert answer.status == 202, answer
    until(lambda: len(daemon.ran("1000000")) == 2, what="both ran")
    until(lambda: not daemon.spooled(), what="the spool is empty")


def test_the_rate_holds_for_accepting(daemon: Daemon) -> None:
    """Over the function's rate: 429 and when to come again."""
    answers = [daemon.ask("POST", "/async-function/rated/tell/rated", b"") for _ in range(3)]
    assert [answer.status for answer in answers] == [202, 202, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 3600


def test_an_idempotency_key_makes_one_call(daemon: Daemon) -> None:
    """Again with the same key: the first call's receipt, and nothing is put; with another body: 422."""
    key = {"Idempotency-Key": "order 1"}
    first = daemon.ask("POST", "/async-function/api/tell/idem", b"a", key)
    again = daemon.ask("POST", "/async-function/api/tell/idem", b"a", key)
    other = daemon.ask("POST", "/async-function/api/tell/idem", b"b", key)
    elsewhere = daemon.ask("POST", "/async-function/one/tell/idem-two", b"b", key)
    assert (first.status, again.status, other.status, elsewhere.status) == (202, 202, 422, 202)
    assert again.headers["x-call-id"] == first.headers["x-call-id"]
    assert again.headers["x-queue-id"] == first.headers["x-queue-id"]
    daemon.wait_state(daemon.put("api/tell/idem-after"), "DONE")
    assert len(daemon.ran('"/tell/idem"')) == 1


@pytest.mark.parametrize("kind", ["X-Delay", "X-Not-Before"])
def test_a_delayed_call_waits(daemon: Daemon, kind: str) -> None:
    """It runs when it is due, and not before."""
    due = time.time() + 1.2
    moment = (datetime.now(UTC) + timedelta(seconds=1.2)).isoformat()
    call = daemon.put(f"api/tell/{kind}", b"", {kind: "1200ms" if kind == "X-Delay" else moment})
    assert daemon.state_of(call) == "DELAYED"
    (ran,) = until(lambda: daemon.ran(f"/tell/{kind}"))
    assert due - 0.05 < ran["at"] < due + 3


def test_a_time_in_the_past_is_now(daemon: Daemon) -> None:
    """A not-before that has passed does not wait."""
    daemon.put("api/tell/past", b"", {"X-Not-Before": "2020-01-01T00:00:00Z"})
    until(lambda: daemon.ran("/tell/past"))


def test_what_was_not_started_in_time_expires(daemon: Daemon) -> None:
    """Behind a call that takes its time, a call with a short max age is buried as `expired` and never runs."""
    daemon.put("one/later/1", b"")
    call = daemon.put("one/tell/expired", b"", {"X-Max-Age": "200ms"})
    shown = daemon.wait_state(call, "DEAD")
    assert shown["reason"] == "expired"
    assert not daemon.ran("/tell/expired")


def test_higher_priority_goes_first(daemon: Daemon) -> None:
    """Among what waits in one function; equals keep their order."""
    blocker = daemon.put("one/gate/priorities", b"")
    until(lambda: daemon.ran("/gate/priorities"), what="one is running")
    for priority in (0, -10, 5, 10, 5):
        daemon.put(f"one/tell/prio{priority}", b"", {"X-Priority": str(priority)})
    assert daemon.ask("GET", "/function/one/open/priorities").status == 200
    until(lambda: len(daemon.ran("/tell/prio")) == 5)
    order = [ran["target"].removeprefix("/tell/prio") for ran in daemon.ran("/tell/prio")]
    assert order == ["10", "5", "5", "0", "-10"]
    assert daemon.state_of(blocker) == "DONE"


def test_fewer_attempts_may_be_asked_for_but_not_more(daemon: Daemon) -> None:
    """`X-Max-Attempts` lowers the function's limit."""
    few = daemon.put("api/status/500/few", b"", {"X-Max-Attempts": "2"})
    many = daemon.put("api/status/500/lots", b"", {"X-Max-Attempts": "100"})
    assert daemon.wait_state(few, "DEAD")["attempts"] == 2
    assert daemon.wait_state(many, "DEAD")["attempts"] == 3
    assert (len(daemon.ran("/few")), len(daemon.ran("/lots"))) == (2, 3)


def test_a_shorter_timeout_may_be_asked_for(daemon: Daemon) -> None:
    """`X-Timeout` ends the attempt; what came of it is on record."""
    call = daemon.put("sleeps/t", b"30", {"X-Timeout": "300ms", "X-Max-Attempts": "1"})
    shown = daemon.wait_state(call, "DEAD")
    assert (shown["status"], shown["attempts"]) == (408, 1)
    call = daemon.put("api/later/30", b"", {"X-Timeout": "300ms", "X-Max-Attempts": "1"})
    assert daemon.wait_state(call, "DEAD")["status"] == 504


def test_the_record_of_a_call(daemon: Daemon) -> None:
    """`calls show --json`: where it went, what came of it, each attempt."""
    call = daemon.put("api/fail/1/record", b"12345")
    daemon.wait_state(call, "DONE")
    shown = daemon.show(call)
    assert (shown["id"], shown["function"], shown["attempts"], shown["status"]) == (
        call,
        "api.openfaas-fn",
        2,
        200,
    )
    assert [attempt["status"] for attempt in shown["history"]] == [500, 200]
    assert shown["accepted_at"] <= shown["history"][0]["started_at"] <= shown["finished_at"]


def test_a_waiting_call_is_cancelled(daemon: Daemon) -> None:
    """202; it is gone from the queue and never runs; a second time it is 409."""
    call = daemon.put("api/tell/cancelled", b"", {"X-Delay": "1h"})
    assert daemon.ask("DELETE", f"/async-function/{call}").status == 202
    assert daemon.state_of(call) == "CANCELLED"
    assert daemon.ask("DELETE", f"/async-function/{call}").status == 409


def test_a_running_call_is_cancelled_and_stopped(daemon: Daemon) -> None:
    """202; the process is ended with its group."""
    call = daemon.put("sleeps/running", b"300")
    (ran,) = until(lambda: daemon.ran(call))
    assert daemon.ask("DELETE", f"/async-function/{call}").status == 202
    until(lambda: ran["pid"] not in daemon.family(), what="the process is ended")
    daemon.wait_state(call, "CANCELLED")
    assert not os.path.exists(f"/proc/{ran['pid']}")  # noqa: PTH110


def test_what_cannot_be_cancelled(daemon: Daemon) -> None:
    """A finished call is 409, an unknown one 404."""
    call = daemon.put("api/tell/finished", b"")
    daemon.wait_state(call, "DONE")
    assert daemon.ask("DELETE", f"/async-function/{call}").status == 409
    assert daemon.ask("DELETE", f"/async-function/{uuid.uuid4()}").status == 404
    assert daemon.ask("DELETE", "/async-function/no-such-call").status == 404
