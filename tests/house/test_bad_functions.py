"""Functions that misbehave: the documented answer, within its time, and nothing of it stays behind."""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.house.daemon import Daemon, alive, running, script, seconds, service
from tests.house.patience import until

ONCE = {"attempts": 1}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("bad")
    words = ["flood", "endless-line", "binary-log", "deaf", "bytes-out", "closes", "suicide", "leave"]
    functions = {word: script(root, word, exec_timeout="5s", retry=ONCE) for word in words}
    short = {"exec_timeout": "400ms", "kill_grace": "200ms", "retry": ONCE}
    functions |= {
        "api": service(root, exec_timeout="5s", retry=ONCE),
        "hurried": service(root, exec_timeout="400ms", retry=ONCE),
        "fragile": service(root, retry=ONCE),
        "stubborn": script(root, "stubborn", **short),
        "family": script(root, "family", **short),
        "big": script(root, "big", "20000000", retry=ONCE),
        "combined": script(root, "fail", "0", combine_output=True),
        "quits": {"mode": "http", "command": ["/bin/false"], "start_timeout": "1s", "retry": ONCE},
        "mute": {"mode": "http", "command": ["/bin/sleep", "600"], "start_timeout": "700ms", "retry": ONCE},
        "absent": {"mode": "http", "command": ["/no/such/program"], "start_timeout": "1s", "retry": ONCE},
        "yes": {"command": ["/usr/bin/yes"], "exec_timeout": "500ms", "mode": "stream", "retry": ONCE},
    }
    with running(root, functions) as one:
        until(lambda: one.ask("GET", "/function/api/tell").status == 200, what="api answers")
        one.wait_healthy()
        yield one
        assert one.ask("GET", "/healthz").status == 200
        assert "Traceback" not in one.log


@pytest.mark.parametrize("what", ["garbage", "silent", "two_lengths", "endless_head"])
def test_an_answer_that_is_not_http_is_502(daemon: Daemon, what: str) -> None:
    """Nothing of it reaches the caller; one line, marked as the platform's."""
    answer = daemon.ask("POST", f"/function/api/{what}", b"x")
    assert (answer.status, answer.body.count(b"\n")) == (502, 1)
    assert "x-openfaas-internal" in answer.headers
    assert b"\xff" not in answer.body


@pytest.mark.parametrize("what", ["short", "half_chunk"])
def test_an_answer_that_breaks_off_is_broken_off(daemon: Daemon, what: str) -> None:
    """The caller can tell that it is not whole: the connection ends before the answer does."""
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        daemon.ask("POST", f"/function/api/{what}", b"x")


@pytest.mark.parametrize(
    ("what", "status"), [("garbage", 502), ("silent", 502), ("short", 502), ("half_chunk", 502)]
)
def test_asynchronous_calls_record_what_the_platform_says(daemon: Daemon, what: str, status: int) -> None:
    """A broken answer is no answer: the attempt failed, whatever its status line was."""
    call = daemon.put(f"api/{what}")
    assert daemon.wait_state(call, "DEAD")["status"] in {status, 503}


def test_a_function_that_never_answers_is_timed_out(daemon: Daemon) -> None:
    """Also when it never reads the body: 504 in its time, with ten megabytes on the way."""
    begun = time.monotonic()
    assert daemon.ask("POST", "/function/hurried/never", b"x" * 10_000_000).status == 504
    assert seconds(begun) < 5
    call = daemon.put("hurried/never", b"x" * 2_000_000)
    assert daemon.wait_state(call, "DEAD")["status"] == 504


def test_a_function_may_answer_before_the_body_is_there(daemon: Daemon) -> None:
    """An early answer gets through to an asynchronous call, whose body nobody wanted."""
    call = daemon.put("api/early", b"x" * 3_000_000)
    assert daemon.wait_state(call, "DONE", "DEAD")["status"] in {200, 502}


def test_a_service_that_dies_is_started_again(daemon: Daemon) -> None:
    """The call it died in is 502; the next ones are served by a new process."""
    first = daemon.ask("GET", "/function/fragile/tell").json()["pid"]
    assert daemon.ask("POST", "/function/fragile/die", b"").status == 502
    answer = until(lambda: ok(daemon, "/function/fragile/tell"), what="it is up again")
    assert answer.json()["pid"] != first
    assert not alive(first)


def ok(daemon: Daemon, target: str):
    """The answer, if it is a 200."""
    answer = daemon.ask("GET", target)
    return answer if answer.status == 200 else None


@pytest.mark.parametrize("name", ["quits", "mute", "absent"])
def test_a_service_that_does_not_come_up_is_502(daemon: Daemon, name: str) -> None:
    """Within its start timeout; an asynchronous call is on record with the same."""
    begun = time.monotonic()
    answer = daemon.ask("GET", f"/function/{name}")
    assert (answer.status, answer.body.count(b"\n")) == (502, 1)
    assert seconds(begun) < 5
    assert daemon.wait_state(daemon.put(name), "DEAD")["status"] in {502, 503}


@pytest.mark.parametrize("name", ["flood", "endless-line", "binary-log"])
def test_a_noisy_stderr_holds_up_nothing(daemon: Daemon, name: str) -> None:
    """The answer comes; the log has lines of bounded length and no control characters."""
    assert daemon.ask("POST", f"/function/{name}", b"").text == "still here\n"
    assert "\x1b[31m" not in daemon.log
    assert max(len(line) for line in daemon.log.splitlines()) < 70_000


def test_stderr_in_the_answer_when_asked_for(daemon: Daemon) -> None:
    """`combine_output` puts it there."""
    text = daemon.ask("POST", "/function/combined", b"").text
    assert "it went wrong\n" in text
    assert "what came so far\n" in text


def test_a_function_that_does_not_read_is_no_trouble(daemon: Daemon) -> None:
    """Ten megabytes for a process that closed its stdin: answered, whatever becomes of the body."""
    assert daemon.ask("POST", "/function/deaf", b"x" * 10_000_000).text == "unread\n"
    call = daemon.put("deaf", b"x" * 3_000_000)
    assert daemon.wait_state(call, "DONE")["status"] == 200


def test_any_bytes_and_any_amount_come_out(daemon: Daemon) -> None:
    """All byte values, and twenty megabytes, unharmed."""
    assert daemon.ask("POST", "/function/bytes-out", b"").body == bytes(range(256))
    assert daemon.ask("POST", "/function/big", b"").body == b"z" * 20_000_000
    assert daemon.wait_state(daemon.put("big"), "DONE")["status"] == 200


def test_a_function_that_closes_stdout_early_is_waited_for(daemon: Daemon) -> None:
    """What it wrote is the answer."""
    assert daemon.ask("POST", "/function/closes", b"").text == "early\n"


def test_a_function_that_is_killed_is_500(daemon: Daemon) -> None:
    """With the signal's name, as classic-watchdog says it."""
    answer = daemon.ask("POST", "/function/suicide", b"")
    assert (answer.status, answer.text) == (500, "signal: killed\n")


@pytest.mark.parametrize("name", ["stubborn", "family"])
def test_exec_timeout_ends_the_whole_family(daemon: Daemon, name: str) -> None:
    """Also who ignores the friendly signal, and children of children."""
    before = set(daemon.family())
    begun = time.monotonic()
    assert daemon.ask("POST", f"/function/{name}", b"60").status == 408
    assert seconds(begun) < 4
    until(lambda: not set(daemon.family()) - before, what="all of them are gone")


def test_a_grandchild_left_behind_holds_up_nothing(daemon: Daemon) -> None:
    """It has stdout open and outlives its parent: there is an answer within the function's time, and it is gone."""
    before = set(daemon.family())
    begun = time.monotonic()
    answer = daemon.ask("POST", "/function/leave", b"")
    assert answer.status in {200, 408}
    assert seconds(begun) < 9
    until(lambda: not set(daemon.family()) - before, what="the grandchild is gone")


def test_an_endless_answer_is_cut_off(daemon: Daemon) -> None:
    """A stream that never ends is ended by exec_timeout; the caller sees that it is not whole."""
    begun = time.monotonic()
    with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
        daemon.ask("POST", "/function/yes", b"")
    assert seconds(begun) < 5
    call = daemon.put("yes")
    assert daemon.wait_state(call, "DEAD", "DONE")["status"]


def test_all_of_them_at_once(daemon: Daemon) -> None:
    """Bad company spoils nobody: good calls among the bad ones are all answered."""
    bad = ["api/garbage", "api/silent", "fragile/die", "flood", "suicide", "stubborn", "quits", "leave"]

    def call(number: int) -> bool:
        if number % 2:
            daemon.ask("POST", f"/function/{bad[number // 2 % len(bad)]}", b"1")
            return True
        return daemon.ask("POST", "/function/api/echo", b"%d" % number).body == b"%d" % number

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(call, range(48)))
