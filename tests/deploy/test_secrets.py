"""Secrets: files that only we can read, whole or not there, and never shown."""

import os
import stat

import pytest

from faasd_py.core.errors import BadRequest, Conflict, NotFound, StoreFailed
from faasd_py.deploy.namespaces import Namespace, open_namespaces
from faasd_py.deploy.secrets import MAX_VALUE, Secrets

HOME = "openfaas-fn"


@pytest.fixture
def default(tmp_path):
    (tmp_path / "secrets").mkdir()
    return tmp_path / "secrets"


@pytest.fixture
def namespaces(tmp_path):
    return open_namespaces(tmp_path / "namespaces", HOME)


@pytest.fixture
def secrets(namespaces, default):
    return Secrets(namespaces, default)


async def test_a_secret_is_a_file_of_ours_alone(secrets, default):
    """Mode 0600, with just these bytes."""
    await secrets.create("key", HOME, b"\x00value\n")
    assert (default / "key").read_bytes() == b"\x00value\n"
    assert stat.S_IMODE((default / "key").stat().st_mode) == 0o600
    assert await secrets.names(HOME) == ["key"]


async def test_a_second_one_of_a_name_is_refused(secrets, default):
    """409 is what starts faas-cli's replacing; the value stays."""
    await secrets.create("key", HOME, b"1")
    with pytest.raises(Conflict, match="secret key already exists"):
        await secrets.create("key", HOME, b"2")
    assert (default / "key").read_bytes() == b"1"


async def test_who_has_it_open_goes_on_reading_the_old_value(secrets, default):
    """A new file takes the name: nobody ever reads half of each."""
    await secrets.create("key", HOME, b"old")
    with (default / "key").open("rb") as held:
        await secrets.update("key", HOME, b"new")
        assert held.read() == b"old"
    assert (default / "key").read_bytes() == b"new"


async def test_what_is_not_there_cannot_be_changed(secrets):
    """404."""
    for act in (lambda: secrets.update("key", HOME, b"x"), lambda: secrets.remove("key", HOME)):
        with pytest.raises(NotFound, match="secret key not found"):
            await act()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "non-empty name"),
        ("  ", "non-empty name"),
        ("../auth/password", "'/' and '..'"),
        ("a/b", "'/' and '..'"),
        ("..", "'/' and '..'"),
        (".new-x", "expected up to"),
        (".", "expected up to"),
        ("a b", "expected up to"),
        ("a\0b", "expected up to"),
        ("é", "expected up to"),
        ("a" * 254, "expected up to"),
    ],
)
async def test_a_name_is_the_name_of_a_file(secrets, tmp_path, name, sentence):
    """And of no file elsewhere."""
    before = sorted(tmp_path.rglob("*"))
    for act in (
        lambda: secrets.create(name, HOME, b"x"),
        lambda: secrets.update(name, HOME, b"x"),
        lambda: secrets.remove(name, HOME),
    ):
        with pytest.raises(BadRequest, match=sentence):
            await act()
    assert sorted(tmp_path.rglob("*")) == before


async def test_a_value_has_its_limit(secrets):
    """1 MiB, and not a byte more."""
    await secrets.create("most", HOME, b"x" * MAX_VALUE)
    with pytest.raises(BadRequest, match="at most"):
        await secrets.create("more", HOME, b"x" * (MAX_VALUE + 1))


async def test_each_namespace_has_its_own(secrets, namespaces, default):
    """The same name, two values."""
    await namespaces.create(Namespace(name="shop", labels={"openfaas": "1"}))
    await secrets.create("key", HOME, b"1")
    await secrets.create("key", "shop", b"2")
    assert (secrets.directory("shop") / "key").read_bytes() == b"2"
    assert stat.S_IMODE(secrets.directory("shop").stat().st_mode) == 0o700
    assert secrets.missing(["key"], "shop") is None
    await secrets.remove("key", "shop")
    assert secrets.missing(["key"], "shop") == "key"
    assert await secrets.names(HOME) == ["key"]
    assert (default / "key").read_bytes() == b"1"


async def test_an_unknown_namespace(secrets, tmp_path):
    """400, and no directory is made for it."""
    for act in (lambda: secrets.names("nowhere"), lambda: secrets.create("key", "../nowhere", b"x")):
        with pytest.raises(BadRequest, match="namespace not valid"):
            await act()
    assert not list(tmp_path.rglob("*nowhere*"))


async def test_what_an_operator_put_there_is_listed_and_links_are_his(secrets, default, tmp_path):
    """Systemd's credentials come as links: they are changed where they come from."""
    (default / "byhand").write_text("x")
    (default / ".hidden").write_text("x")
    (default / "directory").mkdir()
    (tmp_path / "credential").write_text("x")
    (default / "linked").symlink_to(tmp_path / "credential")
    (default / "dangling").symlink_to(tmp_path / "nothing")
    assert await secrets.names(HOME) == ["byhand", "linked"]
    for act in (lambda: secrets.update("linked", HOME, b"y"), lambda: secrets.remove("linked", HOME)):
        with pytest.raises(Conflict, match="is a link to"):
            await act()
    with pytest.raises(Conflict, match="already exists"):
        await secrets.create("dangling", HOME, b"y")
    assert (tmp_path / "credential").read_text() == "x"


async def test_a_full_disk_keeps_the_old_value(secrets, default, monkeypatch):
    """And leaves nothing half-written, and the error does not show the value."""
    await secrets.create("key", HOME, b"old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFailed, match="secret key cannot be kept: No space left on device") as caught:
        await secrets.update("key", HOME, b"hush-hush")
    assert "hush" not in str(caught.value)
    assert [entry.name for entry in default.iterdir()] == ["key"]
    assert (default / "key").read_bytes() == b"old"
