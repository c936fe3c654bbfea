"""The copies of secrets: who may read them, and how they follow what they are copies of."""

from __future__ import annotations

import os

import pytest
import trio
from trio.testing import MockClock

from faasd_py.api import ConfigError
from faasd_py.config import FunctionSettings
from faasd_py.hookspecs import RuntimeSite
from faasd_py_podman.copies import Copies

A_WHILE = 1.5
"""More than one look, by the clock of these tests."""


@pytest.fixture
def clock():
    return MockClock(autojump_threshold=0)


@pytest.fixture
def site(tmp_path):
    """A function with the secret `token`, which is "old"."""
    kept = tmp_path / "kept"
    kept.mkdir()
    write(kept / "token", "old")
    settings = FunctionSettings(image="x", secrets=["token"])
    return RuntimeSite(
        name="f", namespace="fns", settings=settings, directory=tmp_path, secrets=kept, log=None
    )


def write(path, text):
    """As the daemon does: another file takes the place, mode 0600."""
    new = path.with_name(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.rename(path)


def seen(copies):
    return {path.name: path.read_text() for path in copies.path.iterdir()}


@pytest.fixture
def umask():
    """The one of the shipped unit."""
    before = os.umask(0o077)
    yield
    os.umask(before)


def test_what_is_copied(site, tmp_path, umask):
    """Only what the function names, readable by all, writable by nobody."""
    write(site.secrets / "other", "not for it")
    copies = Copies(site, tmp_path)
    assert copies.path.stat().st_mode & 0o777 == 0o755
    assert seen(copies) == {"token": "old"}
    assert (copies.path / "token").stat().st_mode & 0o777 == 0o444


def test_one_that_cannot_be_read(site, tmp_path):
    """Is a sentence that names it."""
    (site.secrets / "token").unlink()
    with pytest.raises(ConfigError, match=r"functions\.f\.secrets: token: No such file"):
        Copies(site, tmp_path)


async def test_a_new_value_is_copied(site, tmp_path, clock):
    """Also the one after it; who has the old file open goes on reading that."""
    copies = Copies(site, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(copies.follow)
        with (copies.path / "token").open() as old:
            for value in ("new", "third"):
                write(site.secrets / "token", value)
                await trio.sleep(A_WHILE)
                assert seen(copies) == {"token": value}
            assert old.read() == "old"
        nursery.cancel_scope.cancel()


async def test_what_is_not_changed_is_not_copied(site, tmp_path, clock):
    """A look costs one question a file."""
    copies = Copies(site, tmp_path)
    before = (copies.path / "token").stat().st_ino
    async with trio.open_nursery() as nursery:
        nursery.start_soon(copies.follow)
        await trio.sleep(10 * A_WHILE)
        nursery.cancel_scope.cancel()
    assert (copies.path / "token").stat().st_ino == before


async def test_a_link_that_leads_elsewhere_is_a_new_value(site, tmp_path, clock):
    """As systemd exchanges credentials, and operators whole directories of them."""
    for number in ("1", "2"):
        write(site.secrets / f"token-{number}", number)
    (site.secrets / "token").unlink()
    (site.secrets / "token").symlink_to("token-1")
    copies = Copies(site, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(copies.follow)
        (site.secrets / ".new").symlink_to("token-2")
        (site.secrets / ".new").rename(site.secrets / "token")
        await trio.sleep(A_WHILE)
        assert seen(copies) == {"token": "2"}
        nursery.cancel_scope.cancel()


async def test_one_that_is_removed_stays_with_those_that_have_it(site, tmp_path, clock, caplog):
    """And one that cannot be read is said once a look, and harms nothing; it is followed again when it can."""
    copies = Copies(site, tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(copies.follow)
        (site.secrets / "token").unlink()
        await trio.sleep(A_WHILE)
        assert seen(copies) == {"token": "old"}
        (site.secrets / "token").mkdir()
        await trio.sleep(A_WHILE)
        assert "secret token of function f stays as it was: Is a directory" in caplog.text
        (site.secrets / "token").rmdir()
        write(site.secrets / "token", "again")
        await trio.sleep(A_WHILE)
        assert seen(copies) == {"token": "again"}
        nursery.cancel_scope.cancel()
