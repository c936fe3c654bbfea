"""The command line against a gateway somewhere else: the real one, asked by the real commands."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.house.daemon import Daemon, running

CAT = {"command": ["/bin/cat"]}
FAILS = {"command": ["/bin/false"], "retry": {"attempts": 1}}


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with running(
        tmp_path_factory.mktemp("remote"), {"cat": CAT, "fails": FAILS}, auth={"enabled": True}
    ) as one:
        one.wait_healthy()
        yield one


@pytest.fixture
def cli(daemon, tmp_path):
    """A person on another box: no configuration, a home of their own, and the gateway's address."""

    def run(*words: str, given: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        url = f"http://127.0.0.1:{daemon.port}"
        home = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(tmp_path),
            "OPENFAAS_URL": url,
            "FAASD_PY_CONFIG": "/no/such",
        }
        return subprocess.run(
            [sys.executable, "-m", "faasd_py", *words],
            input=given, capture_output=True, text=True, env=home | environment, cwd=tmp_path, timeout=60, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def known(cli, daemon):
    """They have logged in."""
    done = cli("login", given=daemon.credentials[1])
    assert done.returncode == 0, done.stderr
    return cli


def test_who_has_not_logged_in_is_told_how(cli, daemon):
    """And a wrong password is not kept."""
    said = cli("calls", "list")
    assert said.returncode == 1
    assert said.stderr.endswith(
        f"asks who you are: faasd-py login --gateway http://127.0.0.1:{daemon.port}\n"
    )
    assert "does not accept these credentials" in cli("login", given="wrong").stderr
    assert cli("calls", "list").returncode == 1


def test_every_verb_that_asks_a_daemon(known, daemon):
    """As on the daemon's own box."""
    call = daemon.put("cat", b"hello")
    daemon.wait_state(call, "DONE")
    assert {one["id"] for one in json.loads(known("calls", "list", "--json").stdout)} >= {call}
    assert known("calls", "show", call, "--result").stdout == "hello"
    assert known("calls", "show", call, "--request").stdout == "hello"
    waiting = daemon.put("cat", b"x", {"X-Delay": "10m"})
    assert known("calls", "cancel", waiting).stdout == f"{waiting} cancelled\n"
    dead = daemon.put("fails", b"x")
    daemon.wait_state(dead, "DEAD")
    assert known("calls", "requeue", dead).returncode == 0
    daemon.wait_state(dead, "DEAD")
    assert known("calls", "purge", "--state", "dead").stdout == "1 call purged\n"
    assert "cat" in known("functions").stdout
    assert known("reload").stdout == "reloaded\n"
    assert known("logs", "cat").returncode == 0


def test_a_token_is_made_used_and_revoked(known, cli, daemon):
    """With the scope it has, and no other."""
    made = known("token", "create", "--name", "looks", "--scope", "read", "--expires", "1h")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    assert token.startswith("fpy_")
    assert cli("calls", "list", FAASD_PY_TOKEN=token).returncode == 0
    refused = cli("reload", FAASD_PY_TOKEN=token)
    assert (refused.returncode, refused.stderr) == (
        1,
        "faasd-py: insufficient scope: this needs admin, looks has read\n",
    )
    listed = known("token", "list").stdout
    assert "looks" in listed
    assert token not in listed
    assert known("token", "revoke", "looks").stdout == "looks revoked\n"
    assert "does not accept the credentials" in cli("calls", "list", FAASD_PY_TOKEN=token).stderr


def test_login_with_a_token(known, cli, tmp_path, daemon):
    """It is kept as faas-cli keeps one."""
    token = known("token", "create", "--name", "kept", "--scope", "admin", "--scope", "invoke").stdout
    assert cli("login", "--token", given=token).returncode == 0
    assert cli("calls", "list").returncode == 0
    text = (tmp_path / ".openfaas" / "config.yml").read_text()
    assert 'auth: "oauth2"' in text
    assert (tmp_path / ".openfaas" / "config.yml").stat().st_mode & 0o777 == 0o600
    known("token", "revoke", "kept")


def test_on_the_daemons_own_box_nobody_is_asked(daemon):
    """Its user's command line goes by the private socket."""
    made = daemon.cli("token", "create", "--name", "local", "--scope", "read")
    assert made.returncode == 0, made.stderr
    assert (
        daemon.ask("GET", "/system/queue", headers={"Authorization": f"Bearer {made.stdout.strip()}"}).status
        == 200
    )
    assert daemon.cli("token", "revoke", "local").returncode == 0
