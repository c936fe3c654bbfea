"""`login`: what is kept is what a gateway accepted."""

import base64
import io

import pytest

from faasd_py.cli import logins


@pytest.fixture
def stdin(monkeypatch):
    """What is piped in."""

    def put(text):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))

    return put


def basic(user, password):
    return base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize("status", [200, 403, 404])
def test_a_password(cli, gateway, stdin, status):
    """Read from stdin, tried as faas-cli does, kept as faas-cli does, never printed."""
    gateway.answers = (status, [("Content-Length", "0")], [])
    stdin("wörd with blanks\n")
    said = cli("login", "-g", gateway.url, "--password-stdin")
    assert (said.status, said.out) == (0, f"credentials for {gateway.url} are in {logins.path()}\n")
    method, path, headers, _ = gateway.asked[0]
    pair = basic("admin", "wörd with blanks")
    assert (method, path, headers["Authorization"]) == ("GET", "/system/functions", f"Basic {pair}")
    assert logins.find(gateway.url) == logins.Login(gateway.url, "basic", pair)
    assert "blanks" not in said.out + said.err


def test_a_user_and_a_token(cli, gateway, stdin):
    """--username, --token; without --password-stdin a pipe is read, too."""
    stdin("word")
    assert cli("login", "-g", gateway.url, "-u", "me").status == 0
    assert logins.find(gateway.url).token == basic("me", "word")
    stdin(" fpy_abc\n")
    assert cli("login", "-g", gateway.url, "--token").status == 0
    assert logins.find(gateway.url) == logins.Login(gateway.url, "oauth2", "fpy_abc")


@pytest.mark.parametrize(
    ("status", "sentence"), [(401, "does not accept these credentials"), (500, "answered 500")]
)
def test_what_is_refused_is_not_kept(cli, gateway, stdin, status, sentence):
    """Nor is a file made."""
    gateway.answers = (status, [("Content-Length", "0")], [])
    stdin("word")
    said = cli("login", "-g", gateway.url)
    assert said.status == 1
    assert sentence in said.err
    assert not logins.path().exists()


@pytest.mark.parametrize(
    ("words", "text"), [([], ""), ([], " \n"), ([], "x" * 5000), (["--token"], "a b"), (["-u", "a:b"], "x")]
)
def test_what_cannot_be_a_login(cli, gateway, stdin, words, text):
    """Usage; nobody is asked."""
    stdin(text)
    assert cli("login", "-g", gateway.url, *words).status == 2
    assert gateway.asked == []
