"""Start and stop: what was promised is kept, whoever ends the daemon and however."""

from __future__ import annotations

import re
import signal
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, script, seconds, service
from tests.house.patience import until

Start = Callable[..., Daemon]


def test_it_is_ready_soon_and_says_so(start: Start, tmp_path: Path) -> None:
    """The first call is answered while the start is fresh; the log names the addresses."""
    daemon = start({"cat": {"command": ["/bin/cat"]}})
    begun = time.monotonic()
    assert daemon.ask("POST", "/function/cat", b"first").body == b"first"
    assert seconds(begun) < 5
    until(lambda: f"127.0.0.1:{daemon.port}" in daemon.log, what="the log names the door")
    assert daemon.stop() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_lets_running_calls_finish(start: Start, tmp_path: Path, number: int) -> None:
    """Both kinds: the synchronous one is answered, the asynchronous one is done and is not run again."""
    daemon = start({"api": service(tmp_path / "0"), "note": script(tmp_path / "0", "sleep")})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(daemon.ask, "POST", "/function/api/later/1", b"")
        call = daemon.put("note", b"1")
        until(lambda: daemon.ran("/later/1") and daemon.ran(call), what="both are running")
        assert daemon.stop(number) == 0
        assert answer.result(10).text == "later\n"
    assert daemon.family() == []
    daemon.start()
    assert daemon.wait_state(call, "DONE")["attempts"] == 1
    assert len(daemon.ran(call)) == 1


def test_nothing_is_accepted_while_stopping(start: Start, tmp_path: Path) -> None:
    """New connections find nobody, or a 503; nothing of them is half-kept."""
    daemon = start({"api": service(tmp_path / "0")})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(daemon.ask, "POST", "/function/api/later/1.5", b"")
        until(lambda: daemon.ran("/later/"), what="a call is running")
        daemon.send(signal.SIGTERM)
        until(lambda: refused(daemon), what="the door is closed")
        assert daemon.wait() == 0
        assert answer.result(10).status == 200


def refused(daemon: Daemon) -> bool:
    """Whether a call is refused."""
    try:
        return daemon.ask("POST", "/async-function/api/tell/late", b"").status == 503
    except OSError:
        return True


def test_after_the_grace_what_runs_is_stopped_and_runs_again(start: Start, tmp_path: Path) -> None:
    """The stop takes no longer than the grace and a little; the call is not lost."""
    functions = {"sleeps": script(tmp_path / "0", "stubborn", kill_grace="300ms", exec_timeout="0")}
    daemon = start(functions, workers={"grace": "700ms"})
    call = daemon.put("sleeps", b"600")
    until(lambda: daemon.ran(call), what="it runs")
    begun = time.monotonic()
    assert daemon.stop() == 0
    assert 0.5 < seconds(begun) < 6
    assert daemon.family() == []
    daemon.start()
    until(lambda: len(daemon.ran(call)) == 2, what="it runs again")


def test_a_caller_that_hangs_cannot_hold_up_the_stop(start: Start, tmp_path: Path) -> None:
    """A synchronous call longer than the grace is cut off."""
    daemon = start({"api": service(tmp_path / "0", exec_timeout="0")}, workers={"grace": "500ms"})
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(daemon.ask, "POST", "/function/api/later/60", b"")
        until(lambda: daemon.ran("/later/60"), what="it runs")
        begun = time.monotonic()
        assert daemon.stop() == 0
        assert seconds(begun) < 8
        assert answer.exception(10) or answer.result().status >= 500
    assert daemon.family() == []


def test_a_second_signal_ends_the_waiting(start: Start, tmp_path: Path) -> None:
    """Whoever insists does not wait for the grace; the call runs again after the next start."""
    functions = {"sleeps": script(tmp_path / "0", "sleep", exec_timeout="0")}
    daemon = start(functions, workers={"grace": "60s"})
    call = daemon.put("sleeps", b"600")
    until(lambda: daemon.ran(call), what="it runs")
    daemon.send(signal.SIGTERM)
    until(lambda: "stopping" in daemon.log, what="the first is heard")
    begun = time.monotonic()
    daemon.stop(signal.SIGTERM)
    assert seconds(begun) < 6
    assert daemon.family() == []
    daemon.start()
    until(lambda: len(daemon.ran(call)) == 2, what="it runs again")


def test_a_signal_during_the_start_is_heard(make: Start, tmp_path: Path) -> None:
    """At whatever moment it comes, the process ends soon and leaves nothing running."""
    daemon = make({"api": service(tmp_path / "0")})
    for delay in (0.05, 0.15, 0.3, 0.5):
        daemon.start(wait=False)
        time.sleep(delay)
        assert daemon.stop(within=15) in {0, -signal.SIGTERM}
        assert daemon.family() == []


def test_a_second_daemon_on_the_same_state_is_refused(start: Start, tmp_path: Path) -> None:
    """One sentence with the directory and who has it, exit status 1; the first goes on."""
    daemon = start({"cat": {"command": ["/bin/cat"]}})
    done = daemon.cli("up", "--config", str(daemon.config))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert str(daemon.state) in done.stderr
    assert str(daemon.pid) in done.stderr
    assert daemon.ask("POST", "/function/cat", b"on").body == b"on"


def test_a_port_that_is_taken_is_one_sentence(make: Start, tmp_path: Path) -> None:
    """Exit status 1, the address is named, and no process is left."""
    daemon = make({"api": service(tmp_path / "0")})
    with socket.create_server(("127.0.0.1", daemon.port)):
        done = daemon.cli("up", "--config", str(daemon.config))
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert f"127.0.0.1:{daemon.port}" in done.stderr
    assert daemon.family() == []


def test_stale_sockets_do_not_hinder_the_next_start(start: Start, tmp_path: Path) -> None:
    """Left behind by a kill -9: the unix door and the private sockets are taken over."""
    door = tmp_path / "door.sock"
    daemon = start({"cat": {"command": ["/bin/cat"]}})
    daemon.tables["gateway"]["listen"].append(f"unix:{door}")
    daemon.write()
    daemon.restart()
    daemon.wait_healthy()
    daemon.kill()
    assert door.exists()
    daemon.start()
    daemon.wait_healthy()
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(10)
        wire.connect(str(door))
        wire.sendall(b"POST /function/cat HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nunix")
        assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert daemon.stop() == 0
    assert [path for path in (tmp_path / "0" / "run").rglob("*.sock") if path.exists()] == []


def test_what_was_waiting_delayed_or_running_runs_after_a_kill(start: Start, tmp_path: Path) -> None:
    """Every accepted call runs; those that were done are not run again."""
    daemon = start({"api": service(tmp_path / "0"), "one": service(tmp_path / "0", max_inflight=1)})
    done = daemon.put("api/tell/done")
    daemon.wait_state(done, "DONE")
    delayed = daemon.put("api/tell/delayed", b"", {"X-Delay": "1500ms"})
    running = daemon.put("one/gate/never")
    waiting = [daemon.put(f"one/tell/waiting{n}") for n in range(20)]
    until(lambda: daemon.ran(running), what="one is running")
    daemon.kill()
    daemon.start()
    until(lambda: re.search(r"from before: 2\d calls wait and will run, 0 dead letters are kept", daemon.log))
    assert daemon.ask("GET", "/function/one/open/never").status == 200
    for call in [delayed, running, *waiting]:
        until(lambda call=call: daemon.ran(call), what="it runs")
    assert len(daemon.ran(done)) == 1
    assert daemon.wait_state(running, "DONE")["attempts"] == 2


def test_a_call_that_kills_the_daemon_is_buried_in_the_end(start: Start, tmp_path: Path) -> None:
    """The poison guard: an attempt counts although the daemon died during it."""
    root = tmp_path / "0"
    policy = {"attempts": 3, "min_wait": "10ms", "max_wait": "20ms"}
    functions = {"poison": script(root, "poison", str(root / "pid"), retry=policy), "api": service(root)}
    daemon = start(functions)
    call = daemon.put("poison")
    for _ in range(3):
        assert daemon.wait(20) == -signal.SIGKILL
        daemon.start()
    assert daemon.wait_state(call, "DEAD")["attempts"] == 3
    assert len(daemon.ran(call)) == 3
    daemon.put("api/tell/alive")
    until(lambda: daemon.ran("/tell/alive"))


def test_a_call_that_must_not_run_twice_is_interrupted(start: Start, tmp_path: Path) -> None:
    """`retry.on_crash = false`: dead with that reason after a kill, and it ran once."""
    daemon = start({"once": script(tmp_path / "0", "sleep", retry={"on_crash": False})})
    call = daemon.put("once", b"60")
    until(lambda: daemon.ran(call), what="it runs")
    daemon.kill()
    daemon.start()
    assert daemon.wait_state(call, "DEAD")["reason"] == "interrupted"
    assert len(daemon.ran(call)) == 1


def test_no_process_outlives_a_killed_daemon(start: Start, tmp_path: Path) -> None:
    """Functions of every kind end when the daemon is killed: nothing runs on unattended."""
    root = tmp_path / "0"
    functions = {
        "api": service(root),
        "sleeps": script(root, "family"),
        "live": {"command": ["/bin/cat"], "mode": "stream"},
    }
    daemon = start(functions)
    assert daemon.ask("GET", "/function/api/tell").status == 200
    call = daemon.put("sleeps", b"300")
    until(lambda: daemon.ran(call), what="it runs")
    daemon.kill()
    until(lambda: daemon.family() == [], what="all of them are gone")


def test_the_log_has_no_traceback_in_an_ordinary_life(start: Start, tmp_path: Path) -> None:
    """Start, calls of each kind, reload, stop: every line has a level and is a sentence."""
    daemon = start({"api": service(tmp_path / "0"), "fails": script(tmp_path / "0", "fail", "1")})
    daemon.wait_healthy()
    for target in ("/function/api/tell", "/function/fails", "/function/nobody", "/function/api/silent"):
        daemon.ask("POST", target, b"x")
    daemon.put("api/tell")
    daemon.reload()
    until(lambda: "reloaded" in daemon.log)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log
    assert not re.search(r"(?i)warning: .*never awaited|resourcewarning|deprecat", daemon.log)
