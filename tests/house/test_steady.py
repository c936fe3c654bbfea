"""Under load and disturbed, but not killed: every call runs exactly once, and nothing piles up."""

from __future__ import annotations

import os
import random
import signal
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from tests.house.daemon import Daemon, pids, script, service
from tests.house.load import Books, Loader
from tests.house.patience import until
from tests.house.wire import dial

Start = Callable[..., Daemon]
SOON = {"attempts": 20, "min_wait": "10ms", "max_wait": "50ms"}


def runs(daemon: Daemon) -> Counter[str]:
    """How often each call ran, as functions/recorder.py wrote it down."""
    path = daemon.root / "record"
    return (
        Counter(line.split(" ")[0] for line in path.read_text().splitlines()) if path.exists() else Counter()
    )


def load(daemon: Daemon, books: Books, name: str, each: int, target: str = "quick?slow=0.002") -> Loader:
    """Four threads that put `each` calls."""
    names = [[f"{name}-{t}-{n}" for n in range(each)] for t in range(4)]
    loader = Loader(daemon.port, books, names, lambda _: (f"/async-function/{target}", b"steady", ""))
    loader.start()
    return loader


def test_reloads_under_load_run_everything_once(start: Start, tmp_path: Path) -> None:
    """The function is replaced five times while its calls come in and run."""
    daemon = start({"quick": service(tmp_path / "0", script="recorder.py", retry=SOON)})
    books = Books()
    loader = load(daemon, books, "r", 250)
    for number in range(5):
        before = daemon.log.count("reloaded")
        daemon.tables["functions"]["quick"]["environment"]["NUMBER"] = str(number)
        daemon.reload()
        until(lambda before=before: daemon.log.count("reloaded") > before, what="reloaded")
    loader.join()
    assert len(books.accepted) == 1000, books
    until(lambda: books.accepted <= set(runs(daemon)), within=30, what="all of them ran")
    assert set(runs(daemon).values()) == {1}


def test_restarts_under_load_run_everything_once(start: Start, tmp_path: Path) -> None:
    """Stopped politely four times with calls running and waiting: none is lost, none runs twice."""
    daemon = start({"quick": service(tmp_path / "0", script="recorder.py", retry=SOON, max_inflight=2)})
    books = Books()
    for number in range(4):
        loader = load(daemon, books, f"s{number}", 200, "quick?slow=0.01")
        until(lambda n=number: len(books.accepted) > 100 * n + 50, what="some are accepted")
        assert daemon.stop() == 0
        loader.join()
        daemon.start()
    until(lambda: books.accepted <= set(runs(daemon)), within=40, what="all of them ran")
    assert not set(runs(daemon)) & books.refused
    again = {call for call, times in runs(daemon).items() if times > 1}
    assert again == set()


def test_cancelled_calls_end_one_way_or_the_other(start: Start, tmp_path: Path) -> None:
    """Calls cancelled at random moments: what was cancelled while it waited never runs; the rest runs once."""
    daemon = start({"quick": service(tmp_path / "0", script="recorder.py", retry=SOON, max_inflight=2)})
    dice = random.Random(5)
    answers: dict[str, int] = {}

    def one(number: int) -> None:
        call = daemon.put("quick?slow=0.005", b"x")
        time.sleep(dice.uniform(0, 0.3))
        answers[call] = daemon.ask("DELETE", f"/async-function/{call}").status

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(150)))
    assert set(answers.values()) <= {202, 409}
    daemon.wait_healthy()
    for call, status in answers.items():
        state = until(lambda c=call: daemon.state_of(c) in {"DONE", "CANCELLED"} and daemon.state_of(c))
        assert state == ("CANCELLED" if status == 202 else "DONE")
    assert set(runs(daemon).values()) <= {1}
    assert {call for call, status in answers.items() if status == 409} <= set(runs(daemon))


def test_one_key_from_many_callers_is_one_call(start: Start, tmp_path: Path) -> None:
    """Twenty callers at the same moment, and one after a kill: one id, one run."""
    daemon = start({"quick": service(tmp_path / "0", script="recorder.py", retry=SOON)})
    gate = threading.Barrier(20)

    def one(_: int) -> str:
        gate.wait(10)
        return daemon.put("quick", b"the same", {"Idempotency-Key": "only-one"})

    with ThreadPoolExecutor(20) as pool:
        ids = set(pool.map(one, range(20)))
    until(lambda: runs(daemon), what="it ran")
    daemon.wait_healthy()
    daemon.wait_state(next(iter(ids)), "DONE")
    daemon.kill()
    daemon.start()
    ids.add(daemon.put("quick", b"the same", {"Idempotency-Key": "only-one"}))
    daemon.put("quick", b"another", {"X-Call-Id": "another"})
    until(lambda: runs(daemon)["another"], what="the other ran")
    assert len(ids) == 1
    assert sum(runs(daemon).values()) == 2


def test_a_killed_spawn_helper_is_replaced(start: Start, tmp_path: Path) -> None:
    """The process that starts processes dies: what ran is tried again or fails, and the next call is served."""
    root = tmp_path / "0"
    daemon = start({"sleeps": script(root, "sleep", retry=SOON), "cat": {"command": ["/bin/cat"]}})
    assert daemon.ask("POST", "/function/cat", b"before").body == b"before"
    call = daemon.put("sleeps", b"0.8")
    until(lambda: daemon.ran(call), what="it runs")
    for pid in children(daemon.pid):
        os.kill(pid, signal.SIGKILL)
    until(lambda: daemon.ask("POST", "/function/cat", b"after").body == b"after", what="forks go on")
    daemon.wait_healthy()
    assert daemon.wait_state(call, "DONE")["attempts"] == 2


def children(parent: int) -> list[int]:
    """The processes whose parent this is."""
    found = []
    for pid in pids():
        with suppress(OSError):
            if int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(pid)
    return found


def test_nothing_piles_up(start: Start, tmp_path: Path) -> None:
    """Good, bad, broken off and cancelled calls by the hundred: no descriptor, process or file more than before."""
    root = tmp_path / "0"
    once = {"attempts": 1}
    functions = {
        "api": service(root, retry=once),
        "cat": {"command": ["/bin/cat"]},
        "live": {"command": ["/bin/cat"], "mode": "stream"},
        "sleeps": script(root, "sleep", exec_timeout="50ms", kill_grace="50ms", retry=once),
    }
    daemon = start(functions, gateway={"idle_timeout": "1s"})
    daemon.wait_healthy()
    mixture(daemon, 12)
    until(daemon.idle, within=30, every=0.1, what="the queue is empty")
    before, family = descriptors(daemon), len(daemon.family())
    for _ in range(4):
        mixture(daemon, 60)
    until(daemon.idle, within=30, every=0.1, what="the queue is empty")
    until(lambda: descriptors(daemon) <= before + 6, within=20, every=0.1, what=f"{before} descriptors again")
    assert len(daemon.family()) <= family
    assert daemon.spooled() == []


def mixture(daemon: Daemon, count: int) -> None:
    """Calls of every kind, eight at once."""
    large = b"x" * 300_000
    kinds: list[Callable[[], object]] = [
        lambda: daemon.ask("POST", "/function/cat", large),
        lambda: daemon.ask("POST", "/function/sleeps", b"9"),
        lambda: daemon.ask("GET", "/function/api/silent"),
        lambda: daemon.ask("GET", "/function/nobody"),
        lambda: daemon.ask("GET", "/metrics"),
        lambda: daemon.put("api/echo", large, {"X-Callback-Url": "http://gateway/function/cat"}),
        lambda: daemon.put("sleeps", b"9"),
        lambda: break_off(daemon, b"POST /function/live HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"),
        lambda: break_off(daemon, b"POST /async-function/cat HTTP/1.1\r\nHost: x\r\nContent-Length: 900000\r\n\r\n" + large),
        lambda: break_off(daemon, b"GET /function/api/big/90000000 HTTP/1.1\r\nHost: x\r\n\r\n"),
        lambda: break_off(daemon, b"GET /function/api/upgrade HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n"),
    ]  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(kinds[number % len(kinds)]) for number in range(count)]:
            done.result(30)


def break_off(daemon: Daemon, data: bytes) -> None:
    """Send this, read a little, and go."""
    with dial(daemon.port) as wire:
        wire.sendall(data)
        wire.settimeout(0.05)
        with suppress(TimeoutError):
            wire.recv(100)


def descriptors(daemon: Daemon) -> int:
    """How many the daemon has open."""
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))  # noqa: PTH208


def test_out_of_descriptors_is_no_end(make: Start, tmp_path: Path) -> None:
    """With a hundred descriptors and three hundred callers: some are refused, and afterwards all is as before."""
    daemon = make({"cat": {"command": ["/bin/cat"]}})
    daemon.start(through='ulimit -n 100; exec "$@"')
    with ThreadPoolExecutor(8) as pool:
        wires = [wire for wire in pool.map(lambda _: try_to_dial(daemon), range(300)) if wire is not None]
    for wire in wires[:50]:
        with suppress(OSError):
            wire.sendall(b"POST /function/cat HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx")
    time.sleep(0.3)
    for wire in wires:
        wire.close()
    until(lambda: quietly(daemon), within=20, every=0.1, what="calls are served again")
    daemon.wait_healthy()


def try_to_dial(daemon: Daemon) -> socket.socket | None:
    """A connection, if there is one to be had."""
    try:
        return dial(daemon.port, 5)
    except OSError:
        return None


def quietly(daemon: Daemon) -> bool:
    """A call is served."""
    try:
        return daemon.ask("POST", "/function/cat", b"on", timeout=5).body == b"on"
    except OSError:
        return False
