"""The command line beside a running daemon, as a person and as a script use it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.house.daemon import Daemon, running, script, service
from tests.house.patience import until


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    root = tmp_path_factory.mktemp("cli")
    functions = {
        "api": service(root, retry={"attempts": 1}),
        "cat": {"command": ["/bin/cat"]},
        "sleeps": script(root, "sleep"),
    }
    with running(root, functions) as one:
        one.wait_healthy()
        yield one


def lines(text: str) -> list[str]:
    return text.splitlines()


def test_check_says_ok_or_what_is_wrong(daemon: Daemon, tmp_path: Path) -> None:
    """Exit status 0 and OK; or 2 and a sentence with file, table and key."""
    assert daemon.cli("check").stdout.startswith("OK\nCONFINEMENT ")
    bad = tmp_path / "bad.toml"
    bad.write_text('[queue]\nmax_depth = "many"\n')
    done = daemon.cli("check", "--config", str(bad))
    assert (done.returncode, done.stdout) == (2, "")
    assert "queue.max_depth" in done.stderr
    assert str(bad) in done.stderr
    assert len(lines(done.stderr)) == 1


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("[gateway", "config"),
        ("[gatewey]\n", "gatewey"),
        ("[gateway]\nlisten = 8080\n", "gateway.listen"),
        ("[gateway]\nlisten = ['nowhere']\n", "nowhere"),
        ("[functions.'a b']\ncommand = ['x']\n", "a b"),
        ("[functions.a]\n", "functions.a"),
        ("[functions.a]\ncommand = []\n", "functions.a.command"),
        ("[functions.a]\ncommand = ['x']\nmode = 'warp'\n", "warp"),
        ("[functions.a]\ncommand = ['x']\nurl = 'http://x'\n", "functions.a"),
        ("[queue]\nbackend = 'no-such'\n", "no-such"),
        ("plugins = ['no-such']\n", "no-such"),
        ("[callback]\nallow = ['10.0.0.0/99']\n", "10.0.0.0/99"),
        ("[workers]\ngrace = '-1s'\n", "workers.grace"),
    ],
)
def test_a_wrong_configuration_stops_the_start_in_one_sentence(tmp_path: Path, text: str, word: str) -> None:
    """`up` and `check` alike: exit status 2, the place is named, no traceback, nothing was started."""
    path = tmp_path / "config.toml"
    path.write_text(text)
    for verb in ("up", "check"):
        done = subprocess.run(
            [sys.executable, "-m", "faasd_py", verb, "--config", str(path)],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        )
        assert done.returncode == 2, (verb, done.stderr)
        assert word in done.stderr
        assert "Traceback" not in done.stderr
        assert len(lines(done.stderr)) == 1, done.stderr


def test_a_missing_configuration_is_named(daemon: Daemon) -> None:
    """Exit status 2 and the path."""
    done = daemon.cli("up", "--config", "/no/such/config.toml")
    assert done.returncode == 2
    assert "/no/such/config.toml" in done.stderr
    assert len(lines(done.stderr)) == 1


@pytest.mark.parametrize(
    "words", [("nonsense",), ("calls", "show"), ("invoke",), ("up", "--no-such-option"), ("calls",)]
)
def test_wrong_usage_is_2(daemon: Daemon, words: tuple[str, ...]) -> None:
    """One sentence on stderr, nothing on stdout."""
    done = daemon.cli(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" not in done.stderr


def test_config_prints_what_is_in_force(daemon: Daemon, tmp_path: Path) -> None:
    """And what it prints is a configuration that means the same."""
    first = daemon.cli("config")
    assert f"127.0.0.1:{daemon.port}" in first.stdout
    again = tmp_path / "again.toml"
    again.write_text(first.stdout)
    assert daemon.cli("config", "--config", str(again)).stdout == first.stdout


def test_functions_and_plugins_and_version(daemon: Daemon) -> None:
    """Names and modes; built-in backends and runtimes; a version."""
    listed = json.loads(daemon.cli("functions", "--json").stdout)
    assert {one["name"] for one in listed} == {"api", "cat", "sleeps"}
    assert "cat" in daemon.cli("functions").stdout
    plugins = daemon.cli("plugins", "--json").stdout
    assert json.loads(plugins)
    assert all(word in plugins for word in ("sqlite", "memory", "fork", "http"))
    assert daemon.cli("version").stdout.startswith("faasd-py ")


def test_invoke_calls_and_prints_the_answer(daemon: Daemon) -> None:
    """The body is an argument or what is piped in; a failing function is exit status 1."""
    assert daemon.cli("invoke", "cat", "--data", "hello").stdout == "hello"
    piped = subprocess.run(
        [sys.executable, "-m", "faasd_py", "invoke", "cat.openfaas-fn"],
        input=b"\x00piped\xff",
        capture_output=True,
        env=daemon.environment,
        timeout=20,
        check=False,
    )
    assert piped.stdout == b"\x00piped\xff"
    assert daemon.cli("invoke", "api/status/500", "--data", "").returncode == 1
    unknown = daemon.cli("invoke", "nobody", "--data", "")
    assert unknown.returncode == 1
    assert "nobody" in unknown.stderr + unknown.stdout


def test_an_asynchronous_call_from_put_to_purge(daemon: Daemon) -> None:
    """Put by `invoke --async`, list, show, its result, purge."""
    done = daemon.cli("invoke", "api/echo", "--async", "--data", "kept", "--priority", "2")
    call = done.stdout.split()[-1]
    assert done.returncode == 0
    daemon.wait_state(call, "DONE")
    assert call in daemon.cli("calls", "list", "--function", "api").stdout
    shown = daemon.cli("calls", "show", call)
    assert "done" in shown.stdout.lower()
    assert daemon.cli("calls", "show", call, "--result").stdout == "kept"
    assert daemon.cli("calls", "show", call, "--request").stdout == "kept"
    assert daemon.cli("calls", "purge", call).returncode == 0
    assert daemon.cli("calls", "show", call).returncode == 1


def test_calls_are_cancelled_waiting_and_running(daemon: Daemon) -> None:
    """A running one is stopped; an unknown one is exit status 1 and one sentence."""
    waiting = daemon.put("cat", b"", {"X-Delay": "1h"})
    at_work = daemon.put("sleeps", b"300")
    (ran,) = until(lambda: daemon.ran(at_work))
    assert daemon.cli("calls", "cancel", waiting, at_work).returncode == 0
    until(lambda: ran["pid"] not in daemon.family(), what="it is stopped")
    assert daemon.state_of(waiting) == "CANCELLED"
    daemon.wait_state(at_work, "CANCELLED")
    unknown = daemon.cli("calls", "cancel", "no-such-call")
    assert unknown.returncode == 1
    assert len(lines(unknown.stderr)) == 1


def test_calls_are_listed_by_state_and_page(daemon: Daemon) -> None:
    """Newest first, no more than asked for, from where the last page ended."""
    calls = [daemon.put("cat", b"", {"X-Delay": "1h"}) for _ in range(7)]
    first = daemon.listed("--state", "delayed", "--function", "cat", "--limit", "4")
    second = daemon.listed("--state", "delayed", "--function", "cat", "--before", first[-1]["id"])
    assert [one["id"] for one in first + second] == calls[::-1]
    assert daemon.cli("calls", "purge", "--state", "delayed", "--function", "cat").returncode == 0
    assert daemon.listed("--state", "delayed", "--function", "cat") == []


def test_without_a_daemon_it_says_so(make: Callable[..., Daemon]) -> None:
    """Exit status 1 and one sentence for every verb that needs it."""
    daemon = make({"cat": {"command": ["/bin/cat"]}})
    for words in (
        ("functions",),
        ("calls", "list"),
        ("calls", "show", "x"),
        ("invoke", "cat", "--data", "x"),
    ):
        done = daemon.cli(*words)
        assert done.returncode == 1, words
        assert len(lines(done.stderr)) == 1, done.stderr
        assert "Traceback" not in done.stderr


def test_output_into_a_closed_pipe_is_no_traceback(daemon: Daemon) -> None:
    """As `faasd-py calls list | head -0`."""
    command = f"{sys.executable} -m faasd_py config | head -c 1 >/dev/null"
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        text=True,
        env=daemon.environment,
        timeout=20,
        check=False,
    )
    assert done.stderr == ""
