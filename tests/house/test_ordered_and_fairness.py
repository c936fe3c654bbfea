"""Order where it is asked for, turns for everybody, and no more at once than is allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.house.daemon import Daemon, running, service
from tests.house.patience import until

SOON = {"attempts": 5, "min_wait": "10ms", "max_wait": "30ms"}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("ordered")
    functions = {
        "ordered": service(root, ordered=True, retry=SOON),
        "three": service(root, max_inflight=3),
        "usual": service(root),
        "busy": service(root),
        "quiet": service(root),
    }
    with running(root, functions, workers={"max_inflight": 4, "function_max_inflight": 4}) as one:
        one.wait_healthy()
        yield one


def test_an_ordered_function_runs_one_at_a_time_in_order(daemon: Daemon) -> None:
    """Forty calls in the order they were accepted, also past one that fails at first."""
    for number in range(40):
        path = f"fail/2/o{number:02}" if number == 7 else f"crowd/o{number:02}"
        daemon.put(f"ordered/{path}")
    ran = until(lambda: lines if len(lines := daemon.ran("/o")) == 42 else [], within=20)
    order = [line["target"].rpartition("/o")[2] for line in ran]
    assert order == sorted(order)
    assert daemon.ask("GET", "/function/ordered/most").body == b"1"


def test_max_inflight_of_a_function_holds_for_asynchronous_calls(daemon: Daemon) -> None:
    """Never more than three at once, and three when there is enough to do."""
    for number in range(30):
        daemon.put(f"three/crowd/t{number}")
    until(lambda: len(daemon.ran("/crowd/t")) == 30)
    assert daemon.ask("GET", "/function/three/most").body == b"3"


def test_the_daemons_own_limit_holds_over_all(daemon: Daemon) -> None:
    """Four workers are four workers."""
    for number in range(30):
        daemon.put(f"usual/crowd/u{number}")
    until(lambda: len(daemon.ran("/crowd/u")) == 30)
    assert int(daemon.ask("GET", "/function/usual/most").body) <= 4


def test_a_backlog_starves_nobody(daemon: Daemon) -> None:
    """Behind two hundred calls of another function, the next function's call runs almost at once."""
    for number in range(200):
        daemon.put(f"busy/crowd/b{number}")
    before = len(daemon.ran("/crowd/b"))
    daemon.put("quiet/tell/quiet")
    until(lambda: daemon.ran("/tell/quiet"))
    assert len(daemon.ran("/crowd/b")) - before < 100
    until(lambda: len(daemon.ran("/crowd/b")) == 200, within=30)


def test_a_slow_function_holds_up_nobody_else(start: Callable[..., Daemon], tmp_path) -> None:
    """While one function's calls hang, another's run; the hanging ones are within their own limit."""
    root = tmp_path / "0"
    functions = {"hangs": service(root, max_inflight=2), "api": service(root)}
    daemon = start(functions, workers={"max_inflight": 8})
    for number in range(20):
        daemon.put(f"hangs/gate/g{number}")
    for number in range(20):
        daemon.put(f"api/tell/a{number}")
    until(lambda: len(daemon.ran("/tell/a")) == 20)
    assert len(daemon.ran("/gate/g")) <= 2


def test_a_429_slows_its_own_lane_only(start: Callable[..., Daemon], tmp_path) -> None:
    """A function that is over its limit gets its calls later, and in the end all of them; others are not slowed."""
    root = tmp_path / "0"
    policy = {"attempts": 50, "min_wait": "10ms", "max_wait": "50ms"}
    functions = {"limited": service(root, retry=policy), "api": service(root)}
    daemon = start(functions)
    calls = [daemon.put(f"limited/limit/2/0/n{number}") for number in range(10)]
    daemon.put("api/tell/free")
    until(lambda: daemon.ran("/tell/free"))
    until(lambda: len(daemon.ran("/limit/")) == 30, within=20, what="two refusals and a success each")
    daemon.wait_healthy()
    assert {daemon.wait_state(call, "DONE")["attempts"] for call in calls} == {3}
