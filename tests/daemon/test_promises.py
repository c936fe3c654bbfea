"""What the manual says of reloading, stopping and refused settings, kept by a whole daemon."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from contextlib import closing

import pytest

from tests.house.daemon import Daemon, alive, free_port, running, script
from tests.house.patience import until
from tests.house.wire import ask

CAT = {"command": ["/bin/cat"]}


def reloaded(daemon: Daemon) -> bool:
    """Write what `tables` says and reload; whether it was taken."""
    lines = len(daemon.log.splitlines())
    daemon.reload()

    def end() -> list[str]:
        return [line for line in daemon.log.splitlines()[lines:] if "reload" in line]

    until(end, what="the reload is over")
    return "reloaded" in end()[0]


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"command": ["/no/such/program"]}, "functions.new.command: there is no program '/no/such/program'"),
        ({**CAT, "working_directory": "/no/such"}, "functions.new.working_directory: there is no directory"),
        ({**CAT, "secrets": ["none"]}, "functions.new.secrets: there is no secret 'none'"),
        ({**CAT, "user": "nobody-of-ours"}, "functions.new.user: "),
        ({**CAT, "confine": {"read": ["/no/such"]}}, "functions.new.confine.read: there is no /no/such"),
    ],
)
def test_a_reload_with_a_function_that_cannot_run_is_refused(tmp_path, settings, reason):
    """The log names the function and the key; what ran goes on as it was, and a corrected file is taken."""
    with running(tmp_path, {"cat": CAT}) as daemon:
        daemon.tables["functions"] = {"cat": {**CAT, "max_inflight": 7}, "new": settings}
        assert not reloaded(daemon)
        assert reason in daemon.log
        assert daemon.ask("POST", "/function/cat", b"as before").body == b"as before"
        assert daemon.ask("POST", "/function/new").status == 404
        daemon.tables["functions"]["new"] = CAT
        assert reloaded(daemon)
        assert daemon.ask("POST", "/function/new", b"now").body == b"now"


def test_a_function_in_trouble_does_not_keep_others_from_changing(tmp_path):
    """It was there at the start: its calls are 502 with the reason, and reloads that leave it alone are taken."""
    functions = {"bad": {**CAT, "limits": {"pids": 3}}, "cat": CAT}
    with running(tmp_path, functions) as daemon:
        answer = daemon.ask("POST", "/function/bad")
        assert (answer.status, "limits.pids: cannot be enforced here" in answer.text) == (502, True)
        daemon.tables["functions"]["more"] = CAT
        assert reloaded(daemon)
        assert daemon.ask("POST", "/function/more", b"x").body == b"x"
        daemon.tables["functions"]["bad"] = {**CAT, "limits": {"pids": 3, "best_effort": True}}
        assert reloaded(daemon)
        assert daemon.ask("POST", "/function/bad", b"x").body == b"x"
        assert "limits.pids is not enforced here" in daemon.log


def test_what_is_read_at_start_only_waits_for_it(tmp_path):
    """The log names what changed; the rest of the file is in force."""
    with running(tmp_path, {"cat": CAT}) as daemon:
        daemon.tables["queue"] = {"max_depth": 5}
        daemon.tables["gateway"] |= {"namespace": "prod", "max_body": "3B"}
        assert reloaded(daemon)
        assert "in force only after a restart: queue, gateway.namespace" in daemon.log
        assert daemon.ask("POST", "/async-function/cat", b"1234").status == 413
        assert daemon.ask("POST", "/function/cat.prod", b"x").status == 404
        daemon.restart()
        assert daemon.ask("POST", "/function/cat.prod", b"x").body == b"x"


def test_operators_must_say_who_they_are(tmp_path):
    """Every path below /system and /ui, whether anything is there or not; what is open stays open."""
    with running(tmp_path, {}, auth={"enabled": True}) as daemon:
        daemon.wait_healthy()
        for path in ("/system/functions", "/system/nothing", "/ui/", "/ui"):
            assert daemon.ask("GET", path).status == 401
        assert daemon.ask("GET", "/nothing").status == 404
        assert daemon.system("GET", "/system/nothing").status == 404


def test_a_url_may_be_a_unix_socket(tmp_path):
    """`http+unix://` and a path."""
    path = str(tmp_path / "s")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(path)
        listener.listen()

        def serve() -> None:
            with closing(listener.accept()[0]) as one:
                assert one.recv(65536)
                one.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

        thread = threading.Thread(target=serve)
        thread.start()
        root = tmp_path / "d"
        root.mkdir()
        with running(root, {"far": {"url": f"http+unix://{path}"}}) as daemon:
            assert daemon.ask("GET", "/function/far").body == b"hi"
        thread.join(5)


ESCAPES = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    os.close(0); os.close(1); os.close(2)
    open(sys.argv[1], "w").write(str(os.getpid()))
    time.sleep(600)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_who_leaves_the_process_group_ends_with_the_daemon(tmp_path, number):
    """However the daemon ends; until then nobody ends it."""
    note = tmp_path / "pid"
    words = [sys.executable, "-I", "-S", "-c", ESCAPES, str(note)]
    with running(tmp_path, {"leaves": {"command": words}}) as daemon:
        assert daemon.ask("POST", "/function/leaves").status == 200
        until(lambda: note.exists() and note.read_text(), what="it has said who it is")
        pid = int(note.read_text())
        assert alive(pid)
        daemon.stop(number)
        until(lambda: not alive(pid), what="it is gone")


def test_a_stop_leaves_attempts_their_kill_grace(tmp_path):
    """An attempt that takes six seconds to die is stopped in order; its call, not to run twice, is dead and says why."""
    slow = script(tmp_path, "stubborn", kill_grace="6s", retry={"on_crash": False})
    with running(tmp_path, {"slow": slow}, workers={"grace": "100ms"}) as daemon:
        call = daemon.put("slow", b"60")
        until(daemon.ran, what="it runs")
        assert daemon.stop() == 0
        assert "left behind" not in daemon.log
        daemon.tables["functions"]["slow"] = {**CAT, "retry": {"on_crash": False}}
        daemon.write()
        daemon.start()
        record = daemon.wait_state(call, "DONE", "DEAD")
        assert (record["state"], record["reason"]) == ("dead", "interrupted")


def test_a_secret_is_a_file_in_the_state_directory(tmp_path):
    """The function finds it, and only it, in $SECRETS_DIR."""
    secrets = tmp_path / "state" / "secrets"
    secrets.mkdir(parents=True)
    for name in ("mine", "other"):
        (secrets / name).write_text(f"{name} word")
    words = ["/bin/sh", "-c", 'ls "$SECRETS_DIR"; cat "$SECRETS_DIR/mine"']
    with running(tmp_path, {"f": {"command": words, "secrets": ["mine"]}}) as daemon:
        assert daemon.ask("POST", "/function/f").text == "mine\nmine word"


def test_a_stop_asks_systemd_for_the_grace_and_half_a_minute(tmp_path):
    """However short TimeoutStopSec is: attempts end, the queue is flushed and functions stop after the grace."""
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(20)
        root = tmp_path / "d"
        root.mkdir()
        daemon = Daemon(root, {}, workers={"grace": "70s"})
        daemon.surroundings["NOTIFY_SOCKET"] = str(tmp_path / "notify")
        try:
            daemon.start()
            assert manager.recv(4096).startswith(b"READY=1")
            assert daemon.stop() == 0
        finally:
            daemon.close()
        assert b"EXTEND_TIMEOUT_USEC=100000000" in manager.recv(4096).splitlines()


@pytest.mark.parametrize("path", ["/metrics", "/healthz"])
def test_limits_of_the_metrics_door_change_with_a_reload(tmp_path, path):
    """They are the gateway's."""
    port = free_port()
    with running(tmp_path, {}, metrics={"listen": [f"127.0.0.1:{port}"]}) as daemon:
        daemon.wait_healthy()
        assert ask(port, "GET", path).status == 200
        daemon.tables["gateway"] |= {"max_headers": 1}
        assert reloaded(daemon)
        assert ask(port, "GET", path, headers={"A": "b", "C": "d"}).status == 431


def test_the_reload_verb_says_what_came_of_it(tmp_path):
    """Exit status 0 when it is in force, 1 and the reason when it was refused, 1 without a daemon."""
    with running(tmp_path, {"cat": CAT}) as daemon:
        daemon.wait_healthy()
        daemon.tables["functions"]["new"] = CAT
        daemon.write()
        done = daemon.cli("reload")
        assert (done.returncode, done.stdout) == (0, "reloaded\n")
        assert daemon.ask("POST", "/function/new", b"x").body == b"x"
        assert daemon.cli("reload", "--json").stdout.split() == ["{", '"reloaded":', "true", "}"]
        daemon.config.write_text("[queue]\nmax_depht = 1\n")
        done = daemon.cli("reload", "--config", str(other_config(daemon)))
        assert done.returncode == 1
        assert "max_depht: there is no such setting" in done.stderr
        daemon.stop()
        assert "not running" in daemon.cli("reload", "--config", str(other_config(daemon))).stderr


def other_config(daemon: Daemon):
    """A file that only says where the daemon's sockets are."""
    path = daemon.root / "other.toml"
    path.write_text(f'[state]\nruntime_directory = "{daemon.root}/run"\n')
    return path


def test_the_collector_of_garbage_does_not_walk_what_lasts(tmp_path):
    """Modules, classes and rooms are out of its way from the start on: a full collection takes no 20 ms of everybody's."""
    told = tmp_path / "told"
    (tmp_path / "sitecustomize.py").write_text(f"""
import gc
real = gc.freeze
def freeze():
    real()
    open({str(told)!r}, "a").write(f"{{gc.get_freeze_count()}} {{len(gc.get_objects())}}\\n")
gc.freeze = freeze
""")
    daemon = Daemon(tmp_path, {"cat": CAT})
    daemon.surroundings["PYTHONPATH"] = str(tmp_path)
    try:
        daemon.start()
        daemon.wait_healthy()
        frozen, left = map(int, told.read_text().split())
        assert left < 1000 < 20_000 < frozen
    finally:
        daemon.close()
