"""kill -9 at any moment: what was answered 202 runs, what was refused does not, and nothing lies about afterwards."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, script, service
from tests.house.load import Books, Loader
from tests.house.patience import until
from tests.house.receivers import Receiver

pytestmark = pytest.mark.crash
ROUNDS = int(os.environ.get("CRASH_ROUNDS", "25"))
SEED = int(os.environ.get("CRASH_SEED", "1"))
"""Other seeds kill at other moments."""
SOON = {"attempts": 60, "min_wait": "10ms", "max_wait": "100ms"}


def recorded(daemon: Daemon) -> Counter[str]:
    """How often each call ran, by the lines that functions/recorder.py and functions/script.py wrote."""
    found: Counter[str] = Counter()
    for name in ("record", "fork-record"):
        path = daemon.root / name
        for line in path.read_text("latin-1").splitlines() if path.exists() else []:
            call = (
                line.partition('"call": "')[2].partition('"')[0]
                if line.startswith("{")
                else line.split(" ")[0]
            )
            found[call] += 1
    return found


def run_after_its_callback(daemon: Daemon, hook: Receiver) -> set[str]:
    """The calls that ran although their callback had been delivered."""
    told: dict[str, float] = {}
    for one in hook.got:
        told.setdefault(one.headers["x-call-id"], one.at)
    lines = [line.split(" ") for line in (daemon.root / "record").read_text("latin-1").splitlines()]
    return {line[0] for line in lines if float(line[1]) > told.get(line[0], float(line[1]))}


def leftovers(daemon: Daemon) -> list[Path]:
    """Files in the state and runtime directories that are not the store itself or a lock."""
    lying = [path for path in (daemon.root / "run").rglob("*") if not path.is_dir() and path.name != "lock"]
    return daemon.spooled() + lying


def test_nothing_that_was_accepted_is_lost(
    start: Callable[..., Daemon], tmp_path: Path, hook: Receiver, capsys: pytest.CaptureFixture[str]
) -> None:
    """Many kills under load: every 202 ran, nothing refused ran, every callback came, no file and no process left."""
    root = tmp_path / "0"
    functions = {
        "quick": service(root, script="recorder.py", retry=SOON, max_inflight=16),
        "fork": script(root, "note", retry=SOON, environment={"RECORD": str(root / "fork-record")}),
    }
    daemon = start(functions, queue={"max_depth": 100}, callback={"schedule": ["100ms"] * 60})
    books, dice = Books(), random.Random(SEED)
    large = b"L" * 400_000

    def request(call: str) -> tuple[str, bytes, str]:
        number = int(call.rpartition("-")[2])
        fields = f"X-Callback-Url: {hook.url('/done')}\r\n"
        if number % 25 == 7:
            return "/async-function/quick?spooled", large, fields
        if number % 25 == 13:
            return "/async-function/fork", b"fork", fields
        return "/async-function/quick?slow=0.02", b"small", fields

    begun = time.monotonic()
    for number in range(ROUNDS):
        loader = Loader(
            daemon.port, books, [[f"r{number}-{t}-{n}" for n in range(150)] for t in range(4)], request
        )
        loader.start()
        time.sleep(dice.uniform(0.02, 1.0))
        daemon.kill()
        loader.join()
        if number % 5 == 4:  # also while it is starting and finding its calls again
            daemon.start(wait=False)
            time.sleep(dice.uniform(0.1, 0.6))
            daemon.kill()
        daemon.start()
    killed = time.monotonic() - begun
    until(lambda: books.accepted <= set(recorded(daemon)), within=60, every=0.2, what="every 202 ran")
    until(lambda: books.accepted <= called_back(hook), within=60, every=0.2, what="every callback came")
    until(lambda: set(recorded(daemon)) <= called_back(hook), within=60, every=0.2, what="all callbacks came")
    ran = recorded(daemon)
    daemon.wait_healthy()
    until(daemon.idle, within=30, every=0.1, what="the queue is empty")
    assert books.refused, "the queue was full at times"
    assert not set(ran) & books.refused
    assert not called_back(hook) & books.refused
    assert not run_after_its_callback(daemon, hook)
    assert daemon.stop() == 0
    assert leftovers(daemon) == []
    assert daemon.family() == []
    assert "Traceback" not in daemon.log
    calls_back = Counter(one.headers["x-call-id"] for one in hook.got)
    with capsys.disabled():
        print(
            f"\n{ROUNDS} kills in {killed:.0f} s: {books}; {sum(ran.values())} runs of {len(ran)} calls, "
            f"{sum(ran.values()) - len(ran)} duplicates; "
            f"{sum(calls_back.values()) - len(calls_back)} duplicate callbacks"
        )


def called_back(hook: Receiver) -> set[str]:
    """The calls whose callback came."""
    return {one.headers["x-call-id"] for one in list(hook.got)}


def test_ten_thousand_calls_and_a_kill_in_the_middle(
    start: Callable[..., Daemon], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Killed while thousands wait: after the restart every call that was answered 202 runs."""
    root = tmp_path / "0"
    functions = {"quick": service(root, script="recorder.py", retry=SOON, max_inflight=8)}
    daemon = start(functions)
    books = Books()
    names = [[f"c{t}-{n}" for n in range(1250)] for t in range(8)]
    loader = Loader(
        daemon.port, books, names, lambda _: ("/async-function/quick?slow=0.004", b"one of ten thousand", "")
    )
    begun = time.monotonic()
    loader.start()
    loader.join()
    accepted = time.monotonic() - begun
    daemon.kill()
    before = recorded(daemon)
    assert len(books.accepted) == 10_000, books
    assert len(before) < 10_000, "some still wait"
    begun = time.monotonic()
    daemon.start()
    until(lambda: books.accepted <= set(recorded(daemon)), within=90, every=0.2, what="every 202 ran")
    ran = recorded(daemon)
    with capsys.disabled():
        print(
            f"\n10000 accepted in {accepted:.1f} s; {len(before)} had run at the kill, the rest "
            f"{time.monotonic() - begun:.1f} s after the restart began; {sum(ran.values()) - len(ran)} duplicates"
        )
    assert sum(ran.values()) - len(ran) <= 200
    assert daemon.stop() == 0
    assert leftovers(daemon) == []


def test_a_kill_during_a_callback_chain_of_our_own(start: Callable[..., Daemon], tmp_path: Path) -> None:
    """Callbacks into our own queue, killed in between ten times: each chain comes to its end."""
    root = tmp_path / "0"
    functions = {"quick": service(root, script="recorder.py", retry=SOON)}
    daemon = start(functions)
    books, dice = Books(), random.Random(SEED + 1)
    url = "X-Callback-Url: http://gateway:8080/async-function/quick?second\r\n"
    for number in range(10):
        loader = Loader(
            daemon.port,
            books,
            [[f"k{number}-{t}-{n}" for n in range(40)] for t in range(2)],
            lambda _: ("/async-function/quick?first", b"chain", url),
        )
        loader.start()
        time.sleep(dice.uniform(0.02, 0.3))
        daemon.kill()
        loader.join()
        daemon.start()
    until(
        lambda: all(recorded(daemon)[call] >= 2 for call in books.accepted),
        within=60,
        every=0.2,
        what="both links of every chain",
    )


def test_an_ordered_function_keeps_its_order_through_kills(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    """Killed eight times: a call may run again, but never after one that was accepted later has run."""
    root = tmp_path / "0"
    functions = {"quick": service(root, script="recorder.py", retry=SOON, ordered=True)}
    daemon = start(functions)
    books, dice = Books(), random.Random(SEED + 2)
    for number in range(8):
        names = [[f"{number:02}-{n:04}" for n in range(60)]]
        loader = Loader(
            daemon.port, books, names, lambda _: ("/async-function/quick?slow=0.004", b"ordered", "")
        )
        loader.start()
        time.sleep(dice.uniform(0.05, 0.5))
        daemon.kill()
        loader.join()
        daemon.start()
    until(lambda: books.accepted <= set(recorded(daemon)), within=60, every=0.2, what="every 202 ran")
    order = [line.split(" ")[0] for line in (root / "record").read_text().splitlines()]
    assert order == sorted(order)
