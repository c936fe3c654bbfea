"""What was given up is kept: listed, shown, run again, removed."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.house.daemon import Daemon, running, service
from tests.house.patience import until

ONCE = {"attempts": 1}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("dead")
    functions = {name: service(root, retry=ONCE) for name in ("one", "two", "three")}
    with running(root, functions) as daemon:
        daemon.wait_healthy()
        yield daemon


def letters(daemon: Daemon, name: str) -> list[dict]:
    """The dead letters of a function."""
    return daemon.listed("--state", "dead", "--function", name)


def test_a_dead_letter_keeps_what_it_was_and_what_came_of_it(daemon: Daemon) -> None:
    """Request, last status, last answer, reason and attempts; also after a restart."""
    call = daemon.put("one/status/500/kept", b"the request", {"X-Mine": "v"})
    daemon.wait_state(call, "DEAD")
    daemon.restart()
    daemon.wait_healthy()
    shown = daemon.show(call)
    assert (shown["state"].upper(), shown["status"], shown["reason"]) == ("DEAD", 500, "attempts")
    assert daemon.cli("calls", "show", call, "--result").stdout == "as asked\n"
    assert daemon.cli("calls", "show", call, "--request").stdout == "the request"
    assert call in [letter["id"] for letter in letters(daemon, "one")]


def test_requeue_runs_it_again(daemon: Daemon) -> None:
    """With its attempts at zero; body, path and id as before."""
    call = daemon.put("one/fail/1/requeue", b"again")
    daemon.wait_state(call, "DEAD")
    assert daemon.cli("calls", "requeue", call).returncode == 0
    assert daemon.wait_state(call, "DONE")["attempts"] == 1
    assert [line["body"] for line in daemon.ran("/fail/1/requeue")] == ["again", "again"]


def test_requeue_of_what_is_not_dead_is_refused(daemon: Daemon) -> None:
    """A finished and an unknown call: exit status 1 and one sentence."""
    call = daemon.put("one/tell/finished")
    daemon.wait_state(call, "DONE")
    for what in (call, "no-such-call"):
        done = daemon.cli("calls", "requeue", what)
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1


def test_all_of_a_function_are_requeued(daemon: Daemon) -> None:
    """Only that function's."""
    calls = [daemon.put(f"two/fail/1/{n}") for n in range(5)]
    other = daemon.put("three/status/500/other")
    for call in [*calls, other]:
        daemon.wait_state(call, "DEAD")
    assert daemon.cli("calls", "requeue", "--all", "--function", "two").returncode == 0
    for call in calls:
        daemon.wait_state(call, "DONE")
    assert daemon.state_of(other) == "DEAD"


def test_purge_removes_them(daemon: Daemon) -> None:
    """Dead letters of one function go; they are unknown afterwards; others stay."""
    gone, kept = daemon.put("three/status/500/gone"), daemon.put("one/status/500/stays")
    for call in (gone, kept):
        daemon.wait_state(call, "DEAD")
    done = daemon.cli("calls", "purge", "--state", "dead", "--function", "three")
    assert done.returncode == 0, done.stderr
    until(lambda: letters(daemon, "three") == [])
    assert daemon.state_of(gone) == ""
    assert daemon.state_of(kept) == "DEAD"


def test_a_dead_letter_is_cancelled(daemon: Daemon) -> None:
    """DELETE on a dead letter: 202, and it is CANCELLED for good."""
    call = daemon.put("one/status/500/cancel")
    daemon.wait_state(call, "DEAD")
    assert daemon.ask("DELETE", f"/async-function/{call}").status == 202
    assert daemon.state_of(call) == "CANCELLED"
