"""Where credentials come from: files of one's own, systemd's, or made at the first start."""

import json
import logging
import stat
from pathlib import Path

import pytest

from faasd_py.auth.keys import load
from faasd_py.config import AuthSettings
from faasd_py.core.errors import ConfigError

USER, PASSWORD = "basic-auth-user", "basic-auth-password"


def put(directory: Path, user: str | None, password: str | None) -> Path:
    directory.mkdir(exist_ok=True)
    for name, word in ((USER, user), (PASSWORD, password)):
        if word is not None:
            (directory / name).write_text(word)
    return directory


def known(keys, user: str, password: str) -> bool:
    return keys.credentials is not None and keys.credentials.match(user.encode(), password.encode())


def test_made_at_the_first_start(tmp_path, caplog):
    """`admin` and a long random password, 0600 in a directory of 0700; the log says where, never what."""
    caplog.set_level(logging.DEBUG)
    keys = load(AuthSettings(), tmp_path, {})
    user, password = ((tmp_path / "auth" / name).read_text().strip() for name in (USER, PASSWORD))
    assert user == "admin"
    assert len(password) >= 43
    assert set(password) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert known(keys, user, password)
    assert {stat.S_IMODE((tmp_path / "auth" / name).stat().st_mode) for name in (USER, PASSWORD)} == {0o600}
    assert stat.S_IMODE((tmp_path / "auth").stat().st_mode) == 0o700
    assert sorted(path.name for path in (tmp_path / "auth").iterdir()) == [PASSWORD, USER]
    assert str(tmp_path / "auth" / PASSWORD) in caplog.text
    assert password not in caplog.text


def test_made_once(tmp_path):
    """The next start finds the same; another box has another."""
    load(AuthSettings(), tmp_path, {})
    first = (tmp_path / "auth" / PASSWORD).read_text()
    assert known(load(AuthSettings(), tmp_path, {}), "admin", first.strip())
    assert (tmp_path / "auth" / PASSWORD).read_text() == first
    load(AuthSettings(), tmp_path / "other", {})
    assert (tmp_path / "other" / "auth" / PASSWORD).read_text() != first


@pytest.mark.parametrize(("user", "password"), [("me", None), (None, "mine")])
def test_only_what_is_missing_is_made(tmp_path, user, password):
    """The other is the operator's."""
    directory = put(tmp_path / "auth", user, password)
    keys = load(AuthSettings(), tmp_path, {})
    assert known(keys, user or "admin", password or (directory / PASSWORD).read_text().strip())


def test_nothing_is_made_where_nobody_asks(tmp_path):
    """With `enabled = false` nobody comes in by a password, unless there is one; with `functions = true` they do."""
    assert load(AuthSettings(enabled=False), tmp_path, {}).credentials is None
    assert list(tmp_path.iterdir()) == []
    load(AuthSettings(enabled=False, functions=True), tmp_path, {})
    assert load(AuthSettings(enabled=False), tmp_path, {}).credentials is not None


def test_systemds_credentials_win_over_the_state_directory(tmp_path):
    """And nothing is made there."""
    given = put(tmp_path / "given", "unit\n", "  from systemd\n")
    put(tmp_path / "auth", "kept", "kept")
    assert known(
        load(AuthSettings(), tmp_path, {"CREDENTIALS_DIRECTORY": str(given)}), "unit", "from systemd"
    )
    (given / USER).unlink()
    with pytest.raises(ConfigError, match=f"{given}/{USER}: there is no such file"):
        load(AuthSettings(), tmp_path, {"CREDENTIALS_DIRECTORY": str(given)})
    (given / PASSWORD).unlink()
    assert known(load(AuthSettings(), tmp_path, {"CREDENTIALS_DIRECTORY": str(given)}), "kept", "kept")


def test_files_of_ones_own_win(tmp_path):
    """White space around them does not count; within it does."""
    given = put(tmp_path / "given", "unit", "unit")
    own = put(tmp_path / "own", " me \r\n", "\n\tmy own word\n\n")
    settings = AuthSettings(user_file=str(own / USER), password_file=str(own / PASSWORD))
    keys = load(settings, tmp_path, {"CREDENTIALS_DIRECTORY": str(given)})
    assert known(keys, "me", "my own word")
    assert not (tmp_path / "auth").exists()


@pytest.mark.parametrize(
    ("user", "password", "sentence"),
    [
        (None, "x", "auth.user_file: {}/basic-auth-user: there is no such file"),
        ("x", None, "auth.password_file: {}/basic-auth-password: there is no such file"),
        ("x", " \n", "auth.password_file: {}/basic-auth-password: is empty"),
        (
            "x",
            "y" * (1 << 20 | 1),
            "auth.password_file: {}/basic-auth-password: is larger than 1048576 bytes",
        ),
        ("a:b", "x", "auth: a user name with a colon cannot be sent (RFC 7617 §2)"),
    ],
)
def test_what_is_wrong_is_said_without_saying_what_is_in_it(tmp_path, user, password, sentence):
    """One sentence with the setting and the file."""
    own = put(tmp_path / "own", user, password)
    settings = AuthSettings(user_file=str(own / USER), password_file=str(own / PASSWORD))
    with pytest.raises(ConfigError) as error:
        load(settings, tmp_path, {})
    assert str(error.value) == sentence.format(own)


def test_what_cannot_be_read_or_written(tmp_path):
    """A directory in a file's place; a file in the directory's."""
    (tmp_path / "auth" / USER).mkdir(parents=True)
    with pytest.raises(ConfigError, match=f"{tmp_path}/auth/{USER}: cannot be read: Is a directory"):
        load(AuthSettings(), tmp_path, {})
    other = tmp_path / "other"
    other.mkdir()
    (other / "auth").write_text("")
    with pytest.raises(ConfigError, match=f"{other}/auth/.*: cannot be"):
        load(AuthSettings(), other, {})


TOKEN = {"name": "ci", "scopes": ["read"], "sha256": "0" * 64}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "input data was truncated"),
        ("[]", "expected `object`, got `array`"),
        ('{"tokens": [{}]}', "object missing required field `name` - at `$.tokens[0]`"),
        (json.dumps({"tokens": [TOKEN | {"scope": []}]}), "object contains unknown field `scope` - at `$.tokens[0]`"),
        (json.dumps({"tokens": [TOKEN | {"scopes": ["all"]}]}), 'tokens[0].scopes: expected scopes out of invoke, read, admin, got "all"'),
        (json.dumps({"tokens": [TOKEN | {"name": "a;b"}]}), "tokens[0].name: expected 1 to 63 letters"),
        (json.dumps({"tokens": [TOKEN | {"sha256": "abc"}]}), "expected `str` matching regex"),
        (json.dumps({"tokens": [TOKEN, TOKEN | {"sha256": "1" * 64}]}), "there are 2 tokens with the name ci"),
        (json.dumps({"tokens": [TOKEN, TOKEN | {"name": "cd"}]}), "there are 2 tokens with the sha256 000"),
        (json.dumps({"tokens": [TOKEN | {"expires_at": "2027-01-01T00:00:00"}]}), "expected `datetime` with a timezone component"),
    ],
)  # fmt: skip
def test_a_token_file_that_is_wrong(tmp_path, text, sentence):
    """Names the file and the place; nothing of it is taken."""
    path = tmp_path / "auth" / "tokens.json"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(ConfigError) as error:
        load(AuthSettings(), tmp_path, {})
    assert str(error.value).startswith(f"{path}: {sentence}")


def test_a_token_file_of_ones_own_must_be_there(tmp_path):
    """Ours need not."""
    with pytest.raises(ConfigError, match=r"auth\.tokens: /no/such: there is no such file"):
        load(AuthSettings(tokens="/no/such"), tmp_path, {})
    assert load(AuthSettings(), tmp_path, {}).tokens == ()
