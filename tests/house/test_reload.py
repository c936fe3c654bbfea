"""SIGHUP: changed functions, limits and policies are in force, and no call notices."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, service
from tests.house.patience import until
from tests.house.wire import ask_on


@pytest.fixture
def daemon(start: Callable[..., Daemon], tmp_path: Path) -> Iterator[Daemon]:
    one = start({"api": service(tmp_path / "0"), "cat": {"command": ["/bin/cat"]}})
    until(lambda: one.ask("GET", "/function/api/tell").status == 200, what="api answers")
    yield one
    assert one.stop() == 0


def reload(daemon: Daemon) -> None:
    """Reload what `tables` says, and wait until the log says that it is in force."""
    before = daemon.log.count("reloaded")
    daemon.reload()
    until(lambda: daemon.log.count("reloaded") > before, what="reloaded")


def test_functions_come_change_and_go(daemon: Daemon) -> None:
    """A new one can be called, a changed one is as it says now, a removed one is unknown."""
    functions = daemon.tables["functions"]
    functions["new"] = {"command": ["/bin/echo", "new here"]}
    functions["api"]["environment"]["CHANGED"] = "yes"
    before = daemon.ask("GET", "/function/api/tell").json()["pid"]
    del functions["cat"]
    reload(daemon)
    assert daemon.ask("GET", "/function/new").text == "new here\n"
    assert daemon.ask("GET", "/function/api/tell").json()["pid"] != before
    assert daemon.ask("POST", "/function/cat", b"x").status == 404
    until(lambda: before not in daemon.family(), what="the old process is gone")


def test_an_unchanged_function_is_left_alone(daemon: Daemon) -> None:
    """Its process goes on when another function is added."""
    before = daemon.ask("GET", "/function/api/tell").json()["pid"]
    daemon.tables["functions"]["new"] = {"command": ["/bin/true"]}
    reload(daemon)
    assert daemon.ask("GET", "/function/api/tell").json()["pid"] == before


def test_running_calls_and_connections_survive(daemon: Daemon) -> None:
    """A synchronous and an asynchronous call of the changed function finish in the old one; keep-alive goes on."""
    with closing(http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=20)) as connection:
        assert ask_on(connection, "POST", "/function/cat", b"before").body == b"before"
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(daemon.ask, "POST", "/function/api/later/1.5", b"")
            call = daemon.put("api/later/1.4")
            until(lambda: len(daemon.ran("/later/1")) == 2, what="both are running")
            daemon.tables["functions"]["api"]["environment"]["CHANGED"] = "yes"
            reload(daemon)
            assert answer.result(20).text == "later\n"
        assert ask_on(connection, "POST", "/function/cat", b"after").body == b"after"
    assert daemon.wait_state(call, "DONE")["attempts"] == 1


def test_calls_under_load_do_not_notice_a_changed_function(daemon: Daemon) -> None:
    """While the function is replaced three times, not one of several hundred calls fails."""

    def call(number: int) -> int:
        return daemon.ask("POST", "/function/api/echo", b"%d" % number).status

    with ThreadPoolExecutor(8) as pool:
        answers = [pool.submit(call, number) for number in range(400)]
        for number in range(3):
            daemon.tables["functions"]["api"]["environment"]["CHANGED"] = str(number)
            reload(daemon)
        assert {answer.result(30) for answer in answers} == {200}


def test_a_limit_changes(daemon: Daemon) -> None:
    """`max_body` and a function's rate are in force after a reload, and then the old ones again."""
    daemon.tables["gateway"]["max_body"] = "10B"
    daemon.tables["functions"]["cat"]["rate"] = {"calls": 1, "per": "1h"}
    reload(daemon)
    assert daemon.ask("POST", "/async-function/api/tell", b"x" * 11).status == 413
    assert [daemon.ask("POST", "/function/cat", b"").status for _ in range(2)] == [200, 429]
    del daemon.tables["gateway"]["max_body"], daemon.tables["functions"]["cat"]["rate"]
    reload(daemon)
    assert daemon.ask("POST", "/async-function/api/tell", b"x" * 11).status == 202
    assert daemon.ask("POST", "/function/cat", b"").status == 200


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[gateway\n", "config.toml"),
        ("[queue]\nmax_depht = 1\n", "max_depht"),
        ('[functions.x]\ncommand = ["a"]\nmode = "no-such-mode"\n', "no-such-mode"),
        ("[functions.x]\nexec_timeout = 'soon'\ncommand = ['a']\n", "functions.x.exec_timeout"),
        ("\xff\n", "config.toml"),
    ],
)
def test_a_broken_file_is_refused_and_the_old_one_stays(daemon: Daemon, text: str, word: str) -> None:
    """One log line with file and key; functions go on as they were."""
    daemon.config.write_bytes(text.encode("latin-1"))
    daemon.send(1)
    until(lambda: "refused" in daemon.log, what="it is refused")
    (line,) = [line for line in daemon.log.splitlines() if "refused" in line]
    assert word in line
    assert daemon.ask("POST", "/function/cat", b"as before").body == b"as before"
    assert "Traceback" not in daemon.log
    daemon.write()


def test_a_missing_file_is_refused(daemon: Daemon) -> None:
    """As a broken one."""
    daemon.config.unlink()
    daemon.send(1)
    until(lambda: "refused" in daemon.log, what="it is refused")
    assert daemon.ask("POST", "/function/cat", b"as before").body == b"as before"


def test_calls_of_a_removed_function_wait_for_it(daemon: Daemon) -> None:
    """What was accepted is not lost when its function is taken out: it runs when the function is back."""
    call = daemon.put("api/tell/comes-back", b"", {"X-Delay": "1s"})
    api = daemon.tables["functions"].pop("api")
    reload(daemon)
    assert daemon.ask("POST", "/async-function/api/tell", b"").status == 404
    until(lambda: daemon.show(call)["attempts"] == 1, every=0.1, what="it was due, and could not run")
    daemon.tables["functions"]["api"] = api
    reload(daemon)
    until(lambda: daemon.ran("/tell/comes-back"), within=20, what="it runs")


def test_many_reloads_at_once_are_taken_one_after_another(daemon: Daemon) -> None:
    """Ten signals in a row: the last file is in force, the daemon lives."""
    for number in range(10):
        daemon.tables["functions"][f"f{number}"] = {"command": ["/bin/true"]}
        daemon.reload()
    until(lambda: daemon.ask("GET", "/function/f9").status == 200, what="the last one is in force")
