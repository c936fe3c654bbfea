"""Words, help, mistakes, and how a command ends."""

import os
import signal
import socket
import subprocess
import sys
import textwrap

import pytest

import faasd_py
from faasd_py import daemon
from faasd_py.cli import main
from faasd_py.cli.parser import make_parser

VERBS = ["up", "check", "config", "reload", "functions", "invoke", "calls", "plugins", "version"]
CALLS = ["list", "show", "cancel", "requeue", "purge"]


def python(*words: str, **kinds) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=30, check=False, **kinds
    )


def test_version(cli):
    """One line; or JSON."""
    assert cli("version").out == f"faasd-py {faasd_py.__version__}\n"
    assert cli("version", "--json").out == f'{{\n  "version": "{faasd_py.__version__}"\n}}\n'


@pytest.mark.parametrize("words", [[], *([verb] for verb in VERBS), *(["calls", verb] for verb in CALLS)])
def test_help(cli, words):
    """Every verb explains itself in lines that fit a terminal, with the exit statuses; asking is no failure."""
    said = cli(*words, "--help")
    assert said.status == 0
    assert said.err == ""
    assert said.out.startswith(f"usage: {' '.join(['faasd-py', *words])}")
    assert "Exit status: 0 done, 1 failed, 2 wrong usage" in said.out
    assert len(said.out.splitlines()) > 8
    assert max(map(len, said.out.splitlines())) <= 120


def test_every_option_is_explained():
    """No option without help."""

    def walk(parser):
        for action in parser._actions:
            if hasattr(action, "choices") and isinstance(action.choices, dict):
                for child in action.choices.values():
                    walk(child)
            else:
                assert action.help, (parser.prog, action.dest)

    walk(make_parser())


@pytest.mark.parametrize("words", [[], ["calls"]])
def test_no_verb(cli, words):
    """The help, and status 2."""
    said = cli(*words)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith("usage: faasd-py")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["pu"], "faasd-py: argument VERB: invalid choice: 'pu'"),
        (["calls", "lst"], "faasd-py calls: argument VERB: invalid choice: 'lst'"),
        (["up", "--fast"], "faasd-py: unrecognized arguments: --fast"),
        (["invoke"], "faasd-py invoke: the following arguments are required: NAME"),
        (["calls", "show"], "faasd-py calls show: the following arguments are required: ID"),
        (
            ["calls", "list", "--limit", "0"],
            "faasd-py calls list: argument --limit: expected an integer >= 1, got '0'",
        ),
        (
            ["calls", "list", "--limit", "²"],
            "faasd-py calls list: argument --limit: expected an integer >= 1, got '²'",
        ),
        (
            ["calls", "list", "--state", "daed"],
            "faasd-py calls list: argument --state: invalid choice: 'daed'",
        ),
        (
            ["invoke", "x", "-d", "a", "-f", "b"],
            "faasd-py invoke: argument --file/-f: not allowed with argument --data/-d",
        ),
        (["--config"], "faasd-py: argument --config: expected one argument"),
        (["config", "--js"], "faasd-py: unrecognized arguments: --js"),
    ],
)
def test_wrong_words(cli, words, sentence):
    """One sentence on stderr that says where help is, status 2."""
    said = cli(*words)
    assert said.status == 2
    assert said.out == ""
    assert said.err.startswith(sentence)
    assert said.err.count("\n") == 1
    assert "--help" in said.err


def test_config_before_or_behind_the_verb(tmp_path, capsys):
    """Both are understood, and the one behind the verb wins."""
    first, second = tmp_path / "a.toml", tmp_path / "b.toml"
    first.write_text("[log]\nlevel = 'debug'")
    second.write_text("[log]\nlevel = 'error'")
    assert main(["--config", str(first), "config"]) == 0
    assert 'level = "debug"' in capsys.readouterr().out
    assert main(["config", "--config", str(second)]) == 0
    assert 'level = "error"' in capsys.readouterr().out
    assert main(["--config", str(first), "config", "--config", str(second)]) == 0
    assert 'level = "error"' in capsys.readouterr().out


def test_up_is_the_daemons_own_status(cli, config, monkeypatch):
    """The path is handed on, the status comes back."""
    seen = []
    monkeypatch.setattr(daemon, "run", lambda path: seen.append(path) or 2)
    assert cli("up").status == 2
    assert seen == [config]


@pytest.mark.parametrize(
    "words", [["functions"], ["calls", "list"], ["calls", "show", "x"], ["calls", "purge", "x"]]
)
def test_the_daemon_is_not_running(cli, tmp_path, words):
    """A clear sentence, status 1."""
    said = cli(*words)
    assert said.status == 1
    assert said.err == f"faasd-py: the daemon is not running: nobody listens at {tmp_path}/admin.sock\n"


def test_the_configuration_is_wrong(cli, config):
    """File, table, key; status 2, whatever the verb."""
    config.write_text("[queue]\nmax_depth = 'many'")
    for words in (["config"], ["functions"], ["calls", "list"], ["check"]):
        said = cli(*words)
        assert said.status == 2
        assert said.err == f'faasd-py: {config}: queue.max_depth: expected an integer, got "many"\n'


def test_an_unforeseen_error_is_one_sentence(cli, monkeypatch):
    """No traceback for a person, unless it is asked for."""
    monkeypatch.setattr("faasd_py.cli.version.say", lambda line: 1 / 0)
    said = cli("version")
    assert (said.status, said.out) == (1, "")
    assert said.err == "faasd-py: internal error: ZeroDivisionError: division by zero\n"
    monkeypatch.setenv("FAASD_PY_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli("version")


def test_interrupted_is_quiet(cli, monkeypatch):
    """Ctrl-C: nothing is printed, the status is the shell's 130."""

    def interrupt(line):
        raise KeyboardInterrupt

    monkeypatch.setattr("faasd_py.cli.version.say", interrupt)
    said = cli("version")
    assert (said.status, said.out, said.err) == (130, "", "")


def test_a_real_interrupt():
    """The same with a signal, while a function takes its time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        words = [sys.executable, "-m", "faasd_py", "invoke", "x", "-d", "", "--gateway", url]
        with (
            subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child,
            server.accept()[0] as connection,
        ):
            assert connection.recv(65536).startswith(b"POST /function/x ")
            child.send_signal(signal.SIGINT)
            out, err = child.communicate(timeout=20)
    assert (child.returncode, out, err) == (130, b"", b"")


@pytest.mark.parametrize("words", [["config"], ["--help"], ["plugins"]])
def test_a_reader_who_leaves(config, words):
    """`faasd-py config | true`: nothing on stderr."""
    script = f'"{sys.executable}" -m faasd_py --config {config} {" ".join(words)} | true'
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize(
    "words",
    [
        ["version"],
        ["--help"],
        ["config"],
        ["functions"],
        ["calls", "list"],
        ["invoke", "x", "--gateway", "http://127.0.0.1:1"],
    ],
)
def test_verbs_are_light(config, words):
    """Neither trio nor quart nor the metrics are loaded for a verb that does not need them."""
    code = textwrap.dedent("""
        import sys
        from faasd_py.cli import main
        try:
            main(sys.argv[1:])
        except SystemExit:
            pass
        heavy = {"trio", "quart", "quart_trio", "hypercorn", "apsw", "asyncio"} & set(sys.modules)
        sys.exit(f"loaded: {heavy}" if heavy else 0)
    """)
    done = python("-c", code, "--config", str(config), *words)
    assert done.returncode == 0, done.stderr


def test_verbs_start_quickly(config):
    """Well under 100 ms more than the bare interpreter, at best of several runs."""

    def best(*words):
        times = []
        for _ in range(5):
            before = os.times()
            python(*words)
            after = os.times()
            times.append(
                after.children_user + after.children_system - before.children_user - before.children_system
            )
        return min(times)

    assert best("-m", "faasd_py", "--config", str(config), "config") - best("-c", "") < 0.1


def test_the_module_is_the_command():
    """`python -m faasd_py`."""
    assert python("-m", "faasd_py", "version").stdout == f"faasd-py {faasd_py.__version__}\n"
