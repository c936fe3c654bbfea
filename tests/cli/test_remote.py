"""Verbs that ask a daemon somewhere else: what the gateway is sent, and what becomes of what it says."""

import argparse
import base64
import importlib
import json
from pathlib import Path

import pytest

from faasd_py.cli import logins
from faasd_py.cli.logins import Login
from faasd_py.cli.parser import make_parser
from tests.architecture.test_docs import parsers

PAIR = base64.b64encode(b"admin:word").decode()


def says(gateway, status, body, kind="application/json"):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [("Content-Length", str(len(data))), ("Content-Type", kind), ("Connection", "close")]
    gateway.answers = (status, lines, [data])


@pytest.fixture
def queue(gateway):
    """A gateway that answers as one with an empty queue."""
    says(gateway, 200, {"calls": [], "next": None})
    return gateway


def authorization(gateway):
    return gateway.asked[-1][2].get("Authorization")


def test_every_verb_that_asks_a_daemon_can_ask_another():
    """No verb forgets the options."""
    for parser in parsers(make_parser()):
        run = parser.get_default("run")
        if run and "Remote(" in Path(importlib.import_module(f"faasd_py.cli.{run}").__file__).read_text():
            options = {option for action in parser._actions for option in action.option_strings}
            assert {"--gateway", "-g", "--tls-no-verify"} <= options, run
            assert isinstance(parser, argparse.ArgumentParser)


def test_the_gateway_is_asked_what_the_socket_is(cli, queue):
    """The same path below the URL's own."""
    assert cli("calls", "list", "--state", "dead", "-g", f"{queue.url}/base/", "--json").out == "[]\n"
    method, path, headers, body = queue.asked[0]
    assert (method, path, body) == ("GET", "/base/system/calls?state=dead&limit=20", b"")
    assert "Authorization" not in headers


def test_a_token_in_the_environment_goes_first(cli, queue, monkeypatch):
    """White space around it does not count."""
    logins.keep(Login(queue.url, "basic", PAIR))
    monkeypatch.setenv("FAASD_PY_TOKEN", " fpy_abc\n")
    assert cli("calls", "list", "-g", queue.url).status == 0
    assert authorization(queue) == "Bearer fpy_abc"


def test_what_login_has_kept(cli, queue):
    """Basic or bearer, for this gateway alone."""
    logins.keep(Login("http://127.0.0.1:1", "basic", "other"))
    cli("calls", "list", "-g", queue.url)
    assert authorization(queue) is None
    logins.keep(Login(queue.url, "basic", PAIR))
    cli("calls", "list", "-g", queue.url)
    assert authorization(queue) == f"Basic {PAIR}"
    logins.keep(Login(queue.url, "oauth2", "fpy_abc"))
    cli("calls", "list", "-g", queue.url)
    assert authorization(queue) == "Bearer fpy_abc"


def test_openfaas_url_names_the_gateway_unless_a_configuration_is_named(cli, queue, monkeypatch, config):
    """--gateway before --config before $OPENFAAS_URL before the box itself."""
    from faasd_py.cli.main import main

    monkeypatch.setenv("OPENFAAS_URL", queue.url)
    assert main(["calls", "list"]) == 0
    assert len(queue.asked) == 1
    assert "not running" in cli("calls", "list").err
    assert cli("calls", "list", "-g", queue.url).status == 0
    assert len(queue.asked) == 2


@pytest.mark.parametrize(
    ("host", "warned"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("[::1]", False),
        ("192.0.2.1", True),
        ("box.invalid", True),
    ],
)
def test_credentials_in_clear_are_warned_of(monkeypatch, capsys, host, warned):
    """Over http to another box; without credentials there is nothing to warn of."""
    from faasd_py.cli.credentials import authorization

    assert authorization(f"http://{host}:8080") is None
    monkeypatch.setenv("FAASD_PY_TOKEN", "fpy_abc")
    assert authorization(f"https://{host}:8080") == "Bearer fpy_abc"
    assert capsys.readouterr().err == ""
    assert authorization(f"http://{host}:8080") == "Bearer fpy_abc"
    err = capsys.readouterr().err
    assert ("http: whoever is on the way can read the credentials" in err) is warned
    assert "fpy_abc" not in err


def test_a_gateway_that_asks(cli, gateway, monkeypatch):
    """401 says what to do: nothing was known, or it is not accepted."""
    says(gateway, 401, b"invalid credentials", "text/plain")
    said = cli("calls", "list", "-g", gateway.url)
    assert (said.status, said.err) == (
        1,
        f"faasd-py: {gateway.url} asks who you are: faasd-py login --gateway {gateway.url}\n",
    )
    monkeypatch.setenv("FAASD_PY_TOKEN", "fpy_abc")
    assert "does not accept the credentials" in cli("calls", "list", "-g", gateway.url).err


@pytest.mark.parametrize(
    ("status", "body", "sentence"),
    [
        (403, {"error": "insufficient scope: this needs admin"}, "insufficient scope: this needs admin"),
        (404, b"404 page not found\n", "404 page not found"),
        (301, b"", "the daemon answered 301 Moved Permanently"),
        (200, b"<html>", "answered what is no JSON: is it a gateway of faasd-py's?"),
    ],
)
def test_other_answers(cli, gateway, status, body, sentence):
    """The gateway's own sentence; redirects are not followed, so credentials go nowhere else."""
    says(gateway, status, body)
    said = cli("functions", "-g", gateway.url)
    assert (said.status, said.out) == (1, "")
    assert said.err.rstrip().endswith(sentence)
    assert len(gateway.asked) == 1


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ftp://x", "expected a gateway like"),
        ("http://admin:word@127.0.0.1:8080", "credentials in a URL are seen by everybody: use faasd-py login --gateway http://127.0.0.1:8080"),
    ],
)  # fmt: skip
def test_urls_that_are_refused(cli, url, sentence):
    """Usage, without saying the password again."""
    said = cli("functions", "--gateway", url)
    assert said.status == 2
    assert sentence in said.err
    assert "word" not in said.err


def test_a_gateway_that_is_not_there(cli):
    """One sentence."""
    said = cli("functions", "-g", "127.0.0.1:1")
    assert (said.status, said.err) == (
        1,
        "faasd-py: cannot connect to http://127.0.0.1:1: connection refused\n",
    )


def test_a_token_that_cannot_be_sent(cli, gateway, monkeypatch):
    """It is not said what it is."""
    monkeypatch.setenv("FAASD_PY_TOKEN", "secret word")
    said = cli("functions", "-g", gateway.url)
    assert (said.status, gateway.asked) == (2, [])
    assert "$FAASD_PY_TOKEN: expected a token" in said.err
    assert "secret" not in said.err


def test_making_a_token(cli, gateway):
    """Its text is all that is printed."""
    says(gateway, 201, {"name": "ci", "scopes": ["invoke", "read"], "token": "fpy_abc"})
    words = ("--name", "ci", "--scope", "read", "--scope", "invoke", "--expires", "90d")
    assert cli("token", "create", *words, "-g", gateway.url).out == "fpy_abc\n"
    method, path, headers, body = gateway.asked[0]
    assert (method, path, headers["Content-Type"]) == ("POST", "/system/tokens", "application/json")
    assert json.loads(body) == {"name": "ci", "scopes": ["read", "invoke"], "expires": "90d"}
    assert json.loads(cli("token", "create", *words, "-g", gateway.url, "--json").out)["token"] == "fpy_abc"


@pytest.mark.parametrize(
    "words",
    [
        ["--name", "x"],
        ["--scope", "read"],
        ["--name", "x", "--scope", "all"],
        ["--name", "x", "--scope", "read", "--expires", "soon"],
    ],
)
def test_tokens_that_cannot_be(cli, gateway, words):
    """Usage; nobody is asked."""
    assert cli("token", "create", *words, "-g", gateway.url).status == 2
    assert gateway.asked == []


def test_listing_and_revoking_tokens(cli, gateway):
    """A line each."""
    says(
        gateway,
        200,
        [
            {"name": "ci", "scopes": ["admin", "read"], "created_at": "2026-01-01T00:00:00Z"},
            {"name": "old", "scopes": ["read"], "expires_at": "2026-01-01T00:00:00Z", "expired": True},
        ],
    )
    rows = [line.split() for line in cli("token", "list", "-g", gateway.url).out.splitlines()]
    assert rows[1] == ["ci", "admin,read", "2026-01-01T00:00:00Z", "never"]
    assert rows[2] == ["old", "read", "-", "2026-01-01T00:00:00Z", "(expired)"]
    says(gateway, 200, {"name": "ci", "scopes": ["read"]})
    assert cli("token", "revoke", "ci", "b/d", "-g", gateway.url).out == "ci revoked\nb/d revoked\n"
    assert [asked[:2] for asked in gateway.asked[-2:]] == [
        ("DELETE", "/system/tokens/ci"),
        ("DELETE", "/system/tokens/b%2Fd"),
    ]


def test_invoke_sends_credentials_only_when_told_to(cli, gateway):
    """A function that does not ask would see them."""
    logins.keep(Login(gateway.url, "basic", PAIR))
    cli("invoke", "a", "-d", "", "-g", gateway.url)
    assert authorization(gateway) is None
    assert cli("invoke", "a", "-d", "", "-g", gateway.url, "--auth").status == 0
    assert authorization(gateway) == f"Basic {PAIR}"
    assert cli("invoke", "a", "-d", "", "-g", gateway.url, "--auth", "-H", "Authorization: x").status == 2
    assert cli("invoke", "a", "-d", "", "-g", "http://127.0.0.1:1", "--auth").status == 1
