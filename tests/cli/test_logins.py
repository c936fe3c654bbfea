"""faas-cli's file: read as it is written by any of its versions, changed without touching the rest."""

import stat

import pytest

from faasd_py.cli import logins
from faasd_py.cli.errors import Failed, Usage
from faasd_py.cli.logins import Login

NEW = """\
auths:
    - gateway: http://127.0.0.1:8080
      auth: basic
      token: YWRtaW46c2VjcmV0
    - gateway: https://far.example.com
      auth: oauth2
      token: fpy_abc
      options: []
"""
OLD = """\
auths:
- gateway: http://127.0.0.1:8080
  auth: basic
  token: YWRtaW46c2VjcmV0
- auth: oauth2
  token: 'fpy_abc'   # a remark
  gateway: "https://far.example.com"
  options:
  - name: token
    value: deep
"""
OTHER = """\
# a remark

theme: dark
auths:   # another

  - gateway: http://127.0.0.1:8080/

    auth: basic
    token: "YWRtaW46c2VjcmV0"
    # and another
  - gateway: https://far.example.com
    auth: oauth2
    options:
      - name: gateway
        value: http://nowhere
    token: fpy_abc
after:
  - gateway: http://elsewhere
    token: no
"""


@pytest.fixture(autouse=True)
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENFAAS_CONFIG", str(tmp_path / "folder"))
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder" / "config.yml"


@pytest.mark.parametrize("text", [NEW, OLD, OTHER])
def test_what_is_kept_is_found(file, text):
    """However it is indented and quoted; what stands deeper, or elsewhere, is none of it."""
    file.write_text(text)
    assert logins.find("http://127.0.0.1:8080").token == "YWRtaW46c2VjcmV0"
    assert logins.find("https://far.example.com") == Login("https://far.example.com", "oauth2", "fpy_abc")
    assert logins.find("http://nowhere") is None
    assert logins.find("http://elsewhere") is None


@pytest.mark.parametrize(
    "gateway", ["HTTP://127.0.0.1:8080", "http://127.0.0.1:8080/", " http://127.0.0.1:8080"]
)
def test_gateways_are_compared_as_faas_cli_does(file, gateway):
    """In small letters, without the last slash."""
    file.write_text(NEW)
    assert logins.find(gateway).token == "YWRtaW46c2VjcmV0"


@pytest.mark.parametrize(
    "text",
    [None, "", "auths: []\n", "auths:\n", "auths: null\n", "# nothing\n", "other: 1\n", "---\nauths: []\n"],
)
def test_nothing_is_kept(file, text):
    """Nobody has logged in yet."""
    if text is not None:
        file.write_text(text)
    assert logins.find("http://127.0.0.1:8080") is None


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("auths: [{gateway: x}]\n", 1),
        ("auths:\n  gateway: x\n", 2),
        ("auths:\n  - gateway: [x]\n", 2),
        ("auths:\n  - gateway: x\n    token: |\n      abc\n", 3),
        ("auths:\n  - gateway: x\n    token: 'abc\n", 3),
        ('auths:\n  - gateway: x\n    token: "a" b\n', 3),
        ("auths:\n  - gateway: x\n token: abc\n", 3),
        ("auths:\n  - gateway: &g x\n", 2),
        ("auths:\n\t- gateway: x\n", 2),
    ],
)
def test_what_is_not_understood_is_said(file, text, line):
    """With file and line, and without what is in it; never half-understood."""
    file.write_text(text)
    with pytest.raises(Usage) as error:
        logins.find("x")
    assert str(error.value).startswith(f"{file}:{line}: is not as faas-cli writes it")
    assert "abc" not in str(error.value)


def test_a_file_that_cannot_be_read(file):
    """One sentence."""
    file.mkdir()
    with pytest.raises(Failed, match="cannot be read: Is a directory"):
        logins.find("x")
    file.rmdir()
    file.write_bytes(b"auths:\n\xff")
    with pytest.raises(Failed, match="cannot be read"):
        logins.find("x")


@pytest.mark.parametrize("text", [NEW, OLD, OTHER, "", None, "auths: []\n", "theme: dark"])
def test_keeping_one_keeps_the_others(file, text):
    """What was there for this gateway goes, all else stays as it was written; mode 0600, and no file beside it."""
    if text is not None:
        file.write_text(text)
    far = logins.find("https://far.example.com")
    assert logins.keep(Login("HTTP://127.0.0.1:8080/", "oauth2", "fpy_new")) == file
    assert logins.find("http://127.0.0.1:8080") == Login("http://127.0.0.1:8080", "oauth2", "fpy_new")
    assert logins.find("https://far.example.com") == far
    assert file.read_text().count("127.0.0.1:8080") == 1
    kept = [
        line for line in (text or "").splitlines() if "remark" in line or "theme" in line or "deep" in line
    ]
    assert [line for line in kept if line not in file.read_text().splitlines()] == []
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["config.yml"]


def test_keeping_twice_is_keeping_once(file):
    """The file does not grow."""
    for _ in range(3):
        logins.keep(Login("http://a", "basic", "x"))
    assert file.read_text() == 'auths:\n    - gateway: "http://a"\n      auth: "basic"\n      token: "x"\n'


def test_where_it_is(tmp_path, monkeypatch):
    """A folder, made when it is needed; or the file itself; or the home directory."""
    monkeypatch.setenv("OPENFAAS_CONFIG", str(tmp_path / "new" / "deep"))
    logins.keep(Login("http://a", "basic", "x"))
    assert stat.S_IMODE((tmp_path / "new" / "deep").stat().st_mode) == 0o700
    monkeypatch.setenv("OPENFAAS_CONFIG", str(tmp_path / "new" / "deep" / "config.yml"))
    assert logins.find("http://a") is not None
    monkeypatch.delenv("OPENFAAS_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert logins.path() == tmp_path / ".openfaas" / "config.yml"


def test_no_repr_tells_a_token():
    """A traceback may have one."""
    assert "secret" not in repr(Login("http://a", "basic", "secret"))
