"""A stranger calls functions synchronously: what goes in, what comes out, and every answer that is the gateway's own."""

from __future__ import annotations

import base64
import http.client
import re
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from tests.house.daemon import Daemon, running, script, service
from tests.house.patience import until
from tests.house.wire import ask_on


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("sync")
    functions = {
        "api": service(root),
        "hurried": service(root, exec_timeout="300ms"),
        "single": service(root, max_inflight=1),
        "socket": service(root, unix_socket=True),
        "down": {"url": "http://127.0.0.1:1"},
        "tell": script(root, "tell"),
        "cat": {"command": ["/bin/cat"]},
        "fails": script(root, "fail", "7"),
        "sleeps": script(root, "sleep", exec_timeout="300ms", kill_grace="100ms"),
        "missing": {"command": ["/no/such/program"]},
        "rated": service(root, rate={"calls": 2, "per": "1h"}),
        "paced": service(root, rate={"calls": 2, "per": "1h"}),
    }
    with running(root, functions) as one:
        until(lambda: one.ask("GET", "/function/api/tell").status == 200, what="api answers")
        yield one


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_every_method_reaches_the_function(daemon: Daemon, method: str) -> None:
    """The method, and a body if there is one, pass through."""
    body = b"hello" if method in {"POST", "PUT", "PATCH"} else None
    told = daemon.ask(method, "/function/api/tell", body).json()
    assert (told["method"], told["body"]) == (method, "hello" if body else "")


@pytest.mark.parametrize(
    ("target", "seen"),
    [
        ("/function/api", "/"),
        ("/function/api/", "/"),
        ("/function/api?x=1", "/?x=1"),
        ("/function/api/tell/a%20b/c;d=1?x=1&y=%2F&z", "/tell/a%20b/c;d=1?x=1&y=%2F&z"),
        ("/function/api.openfaas-fn/tell", "/tell"),
        ("/function/socket/tell?u", "/tell?u"),
    ],
)
def test_path_and_query_arrive_as_they_were_sent(daemon: Daemon, target: str, seen: str) -> None:
    """What follows the name is the function's path; a bare name is its root; the query is not touched."""
    assert daemon.ask("GET", target).json()["target"] == seen


def test_headers_pass_and_the_gateway_adds_its_own(daemon: Daemon) -> None:
    """The caller's headers arrive, repeated ones too; call id, start time and forwarding are added."""
    sent = [("X-Two", "a"), ("X-Two", "b"), ("Authorization", "Bearer t"), ("Host", "shop.example")]
    told = daemon.ask("POST", "/function/api/tell", b"x", sent).json()["headers"]
    got = {name.lower(): value for name, value in told}
    assert [value for name, value in told if name.lower() == "x-two"] == ["a", "b"]
    assert got["authorization"] == "Bearer t"
    assert got["x-forwarded-host"] == "shop.example"
    assert re.fullmatch(r"127\.0\.0\.1:\d+", got["x-forwarded-for"])
    assert abs(int(got["x-start-time"]) / 1e9 - time.time()) < 30
    assert str(uuid.UUID(got["x-call-id"])) == got["x-call-id"]


def test_call_id_and_start_time_are_echoed(daemon: Daemon) -> None:
    """A call id is made when there is none and kept when there is one; both ways it comes back."""
    made = daemon.ask("GET", "/function/api/tell")
    kept = daemon.ask("GET", "/function/api/tell", None, {"X-Call-Id": "mine-1"})
    assert dict(made.json()["headers"])["X-Call-Id"] == made.headers["x-call-id"]
    assert made.headers["x-start-time"].isdigit()
    assert kept.headers["x-call-id"] == "mine-1"
    assert [v for n, v in kept.json()["headers"] if n.lower() == "x-call-id"] == ["mine-1"]


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("nobody", 404),
        ("down", 502),
        ("hurried/later/5", 504),
        ("fails", 500),
        ("sleeps", 408),
        ("rated/tell", 429),
    ],
)
def test_every_answer_names_its_call(daemon: Daemon, target: str, status: int) -> None:
    """Whoever answers, and whatever: the call id is there to ask about."""
    answers = [daemon.ask("POST", f"/function/{target}", b"9", {"X-Call-Id": f"id-{n}"}) for n in range(3)]
    assert answers[2].status == status
    assert [answer.headers["x-call-id"] for answer in answers] == ["id-0", "id-1", "id-2"]
    assert daemon.ask("POST", f"/function/{target}", b"9").headers["x-call-id"]


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "TRACE", "BREW"])
def test_a_forked_function_takes_the_watchdogs_methods(daemon: Daemon, method: str) -> None:
    """Anything but GET, POST, PUT, PATCH and DELETE is 405, and no process is started."""
    before = len(daemon.ran())
    assert daemon.ask(method, "/function/fails").status in {400, 405, 501}
    assert len(daemon.ran()) == before


def test_hop_by_hop_headers_stop_at_the_gateway(daemon: Daemon) -> None:
    """Fields of one hop, and those that Connection names, go neither in nor out (RFC 9110 §7.6.1)."""
    sent = {"Connection": "X-Private, keep-alive", "X-Private": "1", "Keep-Alive": "9", "TE": "trailers"}
    sent |= {"Proxy-Authorization": "p", "Proxy-Connection": "q", "X-End": "yes"}
    seen = {name.lower() for name, _ in daemon.ask("GET", "/function/api/tell", None, sent).json()["headers"]}
    assert "x-end" in seen
    assert not seen & {"x-private", "keep-alive", "te", "proxy-authorization", "proxy-connection"}
    back = daemon.ask("GET", "/function/api/hop").headers
    assert back["x-end"] == "2"
    assert "x-inner" not in back
    assert back.get("keep-alive") is None


@pytest.mark.parametrize("status", [200, 201, 204, 301, 400, 404, 418, 500, 503])
def test_the_functions_status_is_the_answers(daemon: Daemon, status: int) -> None:
    """Whatever the function answers is the answer; nothing marks it as the platform's."""
    answer = daemon.ask("GET", f"/function/api/status/{status}")
    assert answer.status == status
    assert answer.headers["x-from"] == "the function"
    assert "x-openfaas-internal" not in answer.headers


def test_redirects_are_returned_not_followed(daemon: Daemon) -> None:
    """A 302 goes to the caller as it is."""
    answer = daemon.ask("GET", "/function/api/redirect")
    assert (answer.status, answer.headers["location"]) == (302, "/elsewhere?x=1")


def test_head_has_the_head_and_no_body(daemon: Daemon) -> None:
    """HEAD is answered with GET's length and no body, and the connection goes on."""
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)) as connection:
        head = ask_on(connection, "HEAD", "/function/api/echo")
        told = ask_on(connection, "GET", "/function/api/tell")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "0")
    assert told.status == 200


def test_unknown_functions_are_404(daemon: Daemon) -> None:
    """An unknown name, an unknown namespace and an empty name are one line of text from the platform."""
    for target in ("/function/nobody", "/function/api.elsewhere", "/function/nobody/path?x=1"):
        answer = daemon.ask("POST", target, b"x")
        assert (answer.status, answer.body.count(b"\n")) == (404, 1)
        assert "x-openfaas-internal" in answer.headers
    assert daemon.ask("GET", "/function/").status in {400, 404}


def test_a_function_that_is_down_is_502(daemon: Daemon) -> None:
    """No connection to the function: 502, one line, marked as the platform's."""
    answer = daemon.ask("POST", "/function/down", b"x")
    assert (answer.status, answer.body.count(b"\n")) == (502, 1)
    assert "x-openfaas-internal" in answer.headers


def test_exec_timeout_of_an_http_function_is_504(daemon: Daemon) -> None:
    """The answer comes when the time is up, not when the function is done."""
    begun = time.monotonic()
    answer = daemon.ask("POST", "/function/hurried/later/5", b"x")
    assert answer.status == 504
    assert "x-openfaas-internal" in answer.headers
    assert 0.25 < time.monotonic() - begun < 3


def test_exec_timeout_of_a_forked_function_is_408(daemon: Daemon) -> None:
    """As classic-watchdog: 408, `Killed process.`, and the process is gone."""
    answer = daemon.ask("POST", "/function/sleeps", b"30")
    assert (answer.status, answer.text) == (408, "Killed process.\n")
    pid = daemon.ran('"pid"')[-1]["pid"]
    until(lambda: pid not in daemon.family(), what="the process is gone")


def test_over_max_inflight_is_429(daemon: Daemon) -> None:
    """While one call runs in a function that takes one, the next is refused at once with the watchdogs' words."""
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(daemon.ask, "POST", "/function/single/later/1", b"")
        until(lambda: daemon.ran("/later/1"), what="the first is running")
        second = daemon.ask("POST", "/function/single/tell", b"")
        assert second.status == 429
        assert second.text == "Concurrent request limit exceeded. Max concurrent requests: 1\n"
        assert "x-openfaas-internal" in second.headers
        assert first.result(20).status == 200
    assert daemon.ask("GET", "/function/single/tell").status == 200


def test_over_the_rate_is_429_with_retry_after(daemon: Daemon) -> None:
    """A function's rate holds for synchronous calls; the answer says when to come again."""
    answers = [daemon.ask("GET", "/function/paced/tell") for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert 1 <= int(answers[2].headers["retry-after"]) <= 3600


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/function//api/tell?q=1", "/function/api/tell?q=1"),
        ("/function/api/a/../tell", "/function/api/tell"),
        ("/function/api/./tell", "/function/api/tell"),
        ("//function/api?a=//b", "/function/api?a=//b"),
        ("/function/api/../../../etc/passwd", "/etc/passwd"),
    ],
)
def test_a_path_that_is_not_canonical_is_301(daemon: Daemon, target: str, location: str) -> None:
    """Empty and dotted segments are answered with where the clean path is, query kept."""
    answer = daemon.ask("GET", target)
    assert (answer.status, answer.headers["location"]) == (301, location)


def test_a_double_slash_in_the_query_is_nobodys_business(daemon: Daemon) -> None:
    """Only the path is cleaned."""
    assert daemon.ask("GET", "/function/api/tell?u=http://x/../y").json()["target"] == "/tell?u=http://x/../y"


def test_a_forked_function_gets_the_call_as_classic_watchdog_gives_it(daemon: Daemon) -> None:
    """`Http_*` environment, the body on stdin, stdout as the answer with its duration."""
    answer = daemon.ask("POST", "/function/tell/a/b?x=1", b"body", {"X-My-Own": "v", "Host": "h.example"})
    told = answer.json()
    env = told["env"]
    assert told["body"] == "body"
    assert (env["Http_Method"], env["Http_Path"], env["Http_Query"]) == ("POST", "/a/b", "x=1")
    assert (env["Http_X_My_Own"], env["Http_Content_Length"], env["Http_Host"]) == ("v", "4", "h.example")
    assert env["Http_X_Call_Id"] == answer.headers["x-call-id"]
    assert re.fullmatch(r"\d+\.\d{6}", answer.headers["x-duration-seconds"])
    assert "FAASD_PY_CONFIG" not in env
    assert len(told["fds"]) == 4, "stdin, stdout, stderr, and the listing's own"


def test_a_forked_function_that_fails_is_500(daemon: Daemon) -> None:
    """Exit status and output are in the body, as classic-watchdog answers; no duration."""
    answer = daemon.ask("POST", "/function/fails", b"")
    assert (answer.status, answer.text) == (500, "exit status 7\nwhat came so far\n")
    assert "x-duration-seconds" not in answer.headers


def test_a_program_that_is_not_there_is_an_error_of_its_own_call(daemon: Daemon) -> None:
    """It cannot be started: 500 or 502 with the reason, and everybody else is served."""
    answer = daemon.ask("POST", "/function/missing", b"")
    assert answer.status in {500, 502}
    assert answer.body
    assert daemon.ask("POST", "/function/cat", b"still").body == b"still"


def test_many_at_once_get_each_their_own_answer(daemon: Daemon) -> None:
    """Two hundred calls of three kinds over sixteen threads: no answer goes to another."""

    def call(number: int) -> bool:
        name = ("api/echo", "cat", "socket/echo")[number % 3]
        body = base64.b64encode(b"%d" % number) * (1 + number % 50)
        return daemon.ask("POST", f"/function/{name}", body).body == body

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(call, range(200)))
