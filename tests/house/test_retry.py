"""What fails is tried again, as often and as far apart as the function's policy says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest

from tests.house.daemon import Daemon, free_port, running, script, service
from tests.house.patience import until

SOON = {"attempts": 4, "min_wait": "10ms", "max_wait": "50ms"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("retry")
    annotations = {"com.openfaas.retry.attempts": "2", "com.openfaas.retry.codes": "404,500"}
    annotations |= {"com.openfaas.retry.min_wait": "10ms", "com.openfaas.retry.max_wait": "20ms"}
    functions = {
        "api": service(root, retry=SOON),
        "patient": service(root, retry=SOON | {"max_wait": "2s"}),
        "coded": service(root, retry=SOON | {"codes": [418]}),
        "noted": service(root, annotations=annotations),
        "spaced": service(root, retry={"attempts": 4, "min_wait": "300ms", "max_wait": "300ms"}),
        "fails": script(root, "fail", "3", retry=SOON),
        "down": {"url": f"http://127.0.0.1:{free_port()}", "retry": SOON},
    }
    with running(root, functions) as one:
        one.wait_healthy()
        yield one


def test_it_is_tried_until_it_succeeds(daemon: Daemon) -> None:
    """Two failures and a success: done, three attempts on record, the same call id each time."""
    call = daemon.put("api/fail/2/a", b"body")
    shown = daemon.wait_state(call, "DONE")
    assert (shown["attempts"], shown["status"]) == (3, 200)
    ran = daemon.ran("/fail/2/a")
    assert [(line["call"], line["body"]) for line in ran] == [(call, "body")] * 3


def test_it_is_given_up_after_its_attempts(daemon: Daemon) -> None:
    """Four attempts, then dead with the reason and the last status; and not once more."""
    call = daemon.put("api/status/503/b")
    shown = daemon.wait_state(call, "DEAD")
    assert (shown["attempts"], shown["status"], shown["reason"]) == (4, 503, "attempts")
    assert len(daemon.ran("/status/503/b")) == 4


@pytest.mark.parametrize("status", [200, 302, 400, 404, 422, 501])
def test_other_statuses_finish_the_call(daemon: Daemon, status: int) -> None:
    """What the policy does not name is an answer, not a failure to be tried again."""
    call = daemon.put(f"api/status/{status}/c")
    shown = daemon.wait_state(call, "DONE")
    assert (shown["attempts"], shown["status"]) == (1, status)


def test_the_policy_names_the_codes(daemon: Daemon) -> None:
    """With codes of its own, a function's 418 is tried again and its 500 is not."""
    teapot, failure = daemon.put("coded/status/418/d"), daemon.put("coded/status/500/d")
    assert daemon.wait_state(teapot, "DEAD")["attempts"] == 4
    assert daemon.wait_state(failure, "DONE", "DEAD")["attempts"] == 1


def test_openfaas_annotations_are_the_policy(daemon: Daemon) -> None:
    """`com.openfaas.retry.*` set attempts, codes and waits."""
    call = daemon.put("noted/status/404/e")
    assert daemon.wait_state(call, "DEAD")["attempts"] == 2


def test_a_function_may_refuse_to_be_tried_again(daemon: Daemon) -> None:
    """`X-No-Retry: 1` on a failure buries the call at once."""
    call = daemon.put("api/no-retry/f")
    shown = daemon.wait_state(call, "DEAD")
    assert (shown["attempts"], shown["status"]) == (1, 500)


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured(daemon: Daemon, status: int) -> None:
    """The second attempt comes as late as the function asked."""
    daemon.put(f"patient/limit/1/1/{status}")
    first, second = until(lambda: ran if len(ran := daemon.ran(f"/limit/1/1/{status}")) == 2 else [])
    assert 0.95 < second["at"] - first["at"] < 4


def test_retry_after_is_clamped_to_max_wait(daemon: Daemon) -> None:
    """A function cannot make the daemon wait for an hour when max_wait is 50 ms."""
    call = daemon.put("api/limit/1/3600/429")
    assert daemon.wait_state(call, "DONE")["attempts"] == 2


def test_waits_grow_and_stay_below_max_wait(daemon: Daemon) -> None:
    """Full jitter: never more than max_wait apart (and the time of an attempt)."""
    daemon.put("spaced/status/500/g")
    ran = until(lambda: ran if len(ran := daemon.ran("/status/500/g")) == 4 else [])
    gaps = [later["at"] - sooner["at"] for sooner, later in pairwise(ran)]
    assert all(gap < 0.3 + 1 for gap in gaps)


def test_a_failing_process_is_tried_again(daemon: Daemon) -> None:
    """Exit status 3 is a 500, and a 500 is tried again."""
    call = daemon.put("fails")
    shown = daemon.wait_state(call, "DEAD")
    assert (shown["attempts"], shown["status"]) == (4, 500)


def test_a_function_that_cannot_be_reached_is_tried_again(daemon: Daemon) -> None:
    """The platform's own errors are always tried again; they are on record as 502 or 503."""
    call = daemon.put("down")
    shown = daemon.wait_state(call, "DEAD")
    assert shown["attempts"] == 4
    assert shown["status"] in {502, 503}


def test_attempts_and_waits_survive_a_kill(start: Callable[..., Daemon], tmp_path) -> None:
    """A call that waits for its second attempt when the daemon is killed has that attempt, and only that, afterwards."""
    policy = {"attempts": 2, "min_wait": "2s", "max_wait": "2s"}
    daemon = start({"api": service(tmp_path / "0", retry=policy)})
    call = daemon.put("api/limit/9/2/503/kill")  # it says when to come again: jitter could be next to nothing
    daemon.wait_state(call, "DELAYED")
    daemon.kill()
    daemon.start()
    shown = daemon.wait_state(call, "DEAD")
    assert shown["attempts"] == 2
    assert len(daemon.ran("/kill")) == 2
