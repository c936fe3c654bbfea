"""`check`, `config`, `plugins`: the configuration and what belongs to it, without a daemon."""

import fcntl
import json
import os
import pty
import pwd
import struct
import subprocess
import sys
import termios
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest
import trustme

from faasd_py import plugins
from faasd_py.config import Config, parse
from faasd_py.hookspecs import hookimpl
from faasd_py.queue.contract import Capabilities


def test_config_prints_what_is_in_force(cli, config):
    """TOML that reads back to the same, with every default written out."""
    said = cli("config")
    assert said.status == 0
    assert parse(said.out, "printed") == parse(config.read_text(), "c")
    assert tomllib.loads(said.out)["queue"]["backend"] == "sqlite"


def test_config_as_json(cli):
    """The same as one object."""
    told = json.loads(cli("config", "--json").out)
    assert told["gateway"]["idle_timeout"] == "1m15s"
    assert set(told) == set(Config.__struct_fields__)


def test_check_says_ok(cli, config):
    """For a configuration that would start."""
    config.write_text("[functions.echo]\ncommand = ['cat']\n[functions.far]\nurl = 'http://10.0.0.5:9000'")
    said = cli("check")
    assert (said.status, said.err) == (0, "")
    first, head, *rows, last = said.out.splitlines()
    assert (first, head.split()[:2]) == ("OK", ["CONFINEMENT", "HERE"])
    assert [row.split("  ")[0] for row in rows] == ["memory", "cpu", "pids", "user", "files", "system calls"]
    assert last.startswith(f"For a daemon that {pwd.getpwuid(os.geteuid()).pw_name} starts; ")


def test_check_says_all_that_is_wrong(cli, config):
    """A sentence each with the file's name, status 2."""
    config.write_text("[queue]\nmax_depth = 0\n[log]\nlevel = 'x'\n[functions.a]\n")
    said = cli("check")
    assert (said.status, said.out) == (2, "")
    assert said.err.splitlines() == [
        f"faasd-py: {config}: queue.max_depth: expected an integer >= 1, got 0",
        f'faasd-py: {config}: log.level: expected "debug", "info", "warning" or "error", got "x"',
    ]


def test_check_looks_at_the_files_of_auth(cli, config, tmp_path):
    """Those that are named; nothing is made."""
    config.write_text(
        f"[auth]\nuser_file = '/no/u'\npassword_file = '/no/p'\n[state]\ndirectory = '{tmp_path}/s'"
    )
    said = cli("check")
    assert (said.status, said.err) == (
        2,
        f"faasd-py: {config}: auth.user_file: /no/u: there is no such file\n",
    )
    config.write_text(f"[auth]\ntokens = '/no/t'\n[state]\ndirectory = '{tmp_path}/s'")
    assert "auth.tokens: /no/t: there is no such file" in cli("check").err
    assert not (tmp_path / "s" / "auth").exists()


def test_check_looks_at_programs_and_directories(cli, config):
    """What could not be run is found before it is called."""
    config.write_text(
        "[functions.a]\ncommand = ['no-such-program']\n"
        "[functions.b]\ncommand = ['cat']\nworking_directory = '/nowhere'\n"
        "[functions.c]\ncommand = ['/etc']\n"
        "[functions.d]\ncommand = ['cat']\nsecrets = ['token']\n"
    )
    said = cli("check")
    assert said.status == 2
    places = [line.removeprefix(f"faasd-py: {config}: ").partition(": ")[0] for line in said.err.splitlines()]
    assert places == [
        "functions.a.command",
        "functions.b.working_directory",
        "functions.c.command",
        "functions.d.secrets",
    ]


def test_check_looks_at_plug_ins_and_modes(cli, config):
    """Backends, plug-ins and modes that nobody registers."""
    config.write_text("[queue]\nbackend = 'nobody-has-this'")
    said = cli("check")
    assert (said.status, said.out) == (2, "")
    assert "'nobody-has-this' is not installed" in said.err
    config.write_text("[functions.a]\ncommand = ['cat']\nmode = 'wasm'")
    assert "functions.a: nothing here runs mode 'wasm'" in cli("check").err
    config.write_text("[services.bridge]\nurl = 'x'")
    assert "services.bridge: no plug-in" in cli("check").err
    config.write_text("[runtimes.boxes]\nsocket = 'x'")
    assert "runtimes.boxes: no plug-in" in cli("check").err


def test_check_looks_at_files(cli, config, tmp_path):
    """Certificates and signing secrets must be there."""
    config.write_text(
        f"[gateway.tls]\ncertificate = '{tmp_path}/c.pem'\nkey = '{tmp_path}/k.pem'\n"
        f"[callback]\nsecrets = ['{tmp_path}/secret']"
    )
    said = cli("check")
    assert said.status == 2
    assert "gateway.tls.certificate" in said.err
    assert "gateway.tls.key" in said.err
    assert f"{tmp_path}/secret" in said.err
    assert "Traceback" not in said.err


def test_check_tries_certificate_and_key(cli, config, tmp_path):
    """They must be PEM, and belong together."""
    authority = trustme.CA()
    for name in ("a", "b"):
        made = authority.issue_cert("localhost")
        made.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.pem")
        made.private_key_pem.write_to_path(tmp_path / f"{name}.key")

    def check(certificate, key):
        config.write_text(
            f"[gateway.tls]\ncertificate = '{tmp_path}/{certificate}'\nkey = '{tmp_path}/{key}'"
        )
        return cli("check")

    assert check("a.pem", "a.key").out.startswith("OK\n")
    for pair in (("a.pem", "b.key"), ("a.key", "a.pem"), ("config.toml", "a.key")):
        said = check(*pair)
        assert said.status == 2
        assert f"gateway.tls: {tmp_path}/{pair[0]} and {tmp_path}/{pair[1]} cannot be used: " in said.err


def test_plugins(cli):
    """The built-in ones with what they register and can do."""
    lines = cli("plugins").out.splitlines()
    assert lines[0].split() == ["NAME", "FROM", "REGISTERS"]
    sqlite = next(line for line in lines if line.startswith("sqlite "))
    assert "built-in" in sqlite
    assert "queue sqlite (durable, " in sqlite
    modes = {mode for plugin in json.loads(cli("plugins", "--json").out) for mode in plugin.get("modes", ())}
    assert {"fork", "stream", "http", "url"} <= modes


class Guest:
    """A plug-in as pip would install it."""

    @staticmethod
    @hookimpl
    def faasd_py_register_queues(register):
        register("cloud", None, Capabilities(durable=True, delay=True, max_body=65536))

    @staticmethod
    @hookimpl
    def faasd_py_register_services(register):
        register("bridge", None)

    @staticmethod
    @hookimpl
    def faasd_py_observe(event):
        """Listens."""


def entry(name, thing):
    def load():
        if isinstance(thing, Exception):
            raise thing
        return thing

    dist = SimpleNamespace(name=f"faasd-py-{name}", version="1.2")
    return SimpleNamespace(name=name, value=f"{name}.module", load=load, dist=dist)


@pytest.fixture
def guests(monkeypatch):
    """Two installed plug-ins, one of them broken."""
    found = {"cloud": entry("cloud", Guest), "broken": entry("broken", ImportError("no module named nats"))}
    monkeypatch.setattr(plugins, "installed", lambda: found)


def test_installed_plug_ins(cli, guests):
    """Where each is from, what it registers; a broken one is listed with its reason and hides nobody."""
    found = {plugin["name"]: plugin for plugin in json.loads(cli("plugins", "--json").out)}
    cloud = found["cloud"]
    assert cloud["distribution"] == "faasd-py-cloud 1.2"
    assert cloud["queues"][0]["name"] == "cloud"
    assert cloud["queues"][0]["capabilities"]["max_body"] == 65536
    assert cloud["services"] == ["bridge"]
    assert cloud["observes"] is True
    assert "no module named nats" in found["broken"]["trouble"]
    table = cli("plugins").out
    assert "queue cloud (durable, delay, max_body 65536), service bridge, observer" in table
    assert "no module named nats" in table


def test_tables_are_not_cut_in_a_pipe(cli, guests):
    """Lines end where their text ends."""
    assert max(map(len, cli("plugins").out.splitlines())) > 80
    assert not sys.stdout.isatty()


def test_a_table_on_a_terminal_ends_where_the_terminal_ends(config):
    """Lines are cut at its width, not wrapped."""
    leader, follower = pty.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 64, 0, 0))
    words = [sys.executable, "-m", "faasd_py", "--config", str(config), "plugins"]
    with subprocess.Popen(words, stdout=follower, stderr=subprocess.PIPE) as child:
        os.close(follower)
        written = b""
        while piece := _read(leader):
            written += piece
        assert child.wait(20) == 0
    os.close(leader)
    lines = written.decode().splitlines()
    assert max(map(len, lines)) == 64
    assert lines[0].split() == ["NAME", "FROM", "REGISTERS"]


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 65536)
    except OSError:  # EIO: the other end is closed
        return b""


@pytest.mark.parametrize("verb", ["config", "check"])
def test_what_the_terminal_cannot_show(config, verb):
    """An ASCII locale gets escapes instead of a traceback."""
    config.write_text("[functions.a]\ncommand = ['☃']\nlabels = { 'é' = '☃' }")
    words = [sys.executable, "-m", "faasd_py", "--config", str(config), verb]
    environment = {"PATH": os.environ["PATH"], "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(words, capture_output=True, env=environment, timeout=30, check=False)
    assert b"Traceback" not in done.stderr
    assert b"internal error" not in done.stderr
    assert b"\\u2603" in done.stdout + done.stderr


def test_a_full_disk_is_said(config):
    """/dev/full takes nothing: one sentence, status 1."""
    words = [sys.executable, "-m", "faasd_py", "--config", str(config), "config"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(words, stdout=full, stderr=subprocess.PIPE, text=True, timeout=30, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_settings_of_the_environment(cli, monkeypatch, tmp_path):
    """Where systemd put the directories is what is in force."""
    monkeypatch.setenv("FAASD_PY_CONFIG", "/nowhere")
    config = tmp_path / "empty.toml"
    config.write_text("")
    monkeypatch.setenv("STATE_DIRECTORY", "/var/lib/private/x")
    said = cli("config", "--config", str(config), "--json")
    assert json.loads(said.out)["state"]["directory"] == "/var/lib/private/x"
