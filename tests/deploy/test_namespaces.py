"""Namespaces: made, changed, removed; each step is on disk before it is seen, and a restart finds it."""

import os
import stat

import msgspec
import pytest
import trio

from faasd_py.core.errors import BadRequest, Conflict, NotFound, StoreFailed
from faasd_py.deploy import files
from faasd_py.deploy.namespaces import Namespace, open_namespaces

MARKED = {"openfaas": "1"}


def named(name, **labels):
    return Namespace(name=name, labels=MARKED | labels)


def nobody(_name):
    return None


@pytest.fixture
def place(tmp_path):
    return tmp_path / "state" / "namespaces"


@pytest.fixture
def namespaces(place):
    return open_namespaces(place, "openfaas-fn")


def test_the_default_one_is_always_there(namespaces):
    """Without a file, and first in the list."""
    assert namespaces.names() == ["openfaas-fn"]
    assert "openfaas-fn" in namespaces
    assert namespaces.get("openfaas-fn").labels == MARKED


async def test_what_was_made_survives_a_restart(namespaces, place):
    """With its labels and annotations; the directory and the file are ours alone."""
    new = Namespace(name="shop", labels=MARKED | {"team": "a"}, annotations={"note": "x"})
    await namespaces.create(new)
    assert open_namespaces(place, "openfaas-fn").get("shop") == new
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert stat.S_IMODE((place / "shop.json").stat().st_mode) == 0o600


async def test_it_is_on_disk_before_it_is_seen(namespaces, place, monkeypatch):
    """When the disk refuses, nothing has changed and nothing half-written is left."""

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StoreFailed, match="No space left"):
        await namespaces.create(named("shop"))
    assert "shop" not in namespaces
    assert list(place.iterdir()) == []


async def test_a_second_one_of_a_name_is_refused(namespaces):
    """409: also for the default one."""
    await namespaces.create(named("shop"))
    for name in ("shop", "openfaas-fn"):
        with pytest.raises(Conflict, match="already exists"):
            await namespaces.create(named(name))


@pytest.mark.parametrize("name", ["", "A", "a.b", "-a", "a-", "a/b", "..", "a" * 64, "é", "a b", "a\n"])
async def test_a_name_is_a_dns_label(namespaces, place, name):
    """Because NAME.NAMESPACE is split at its last dot, and a namespace is a file."""
    with pytest.raises(BadRequest, match="namespace not valid"):
        await namespaces.create(named(name))
    assert list(place.iterdir()) == []


async def test_the_label_must_be_there(namespaces):
    """As OpenFaaS has it."""
    with pytest.raises(BadRequest, match="openfaas=1 label"):
        await namespaces.create(Namespace(name="shop"))


async def test_labels_are_replaced(namespaces, place):
    """All of them."""
    await namespaces.create(named("shop", team="a"))
    await namespaces.update(named("shop", floor="2"))
    assert open_namespaces(place, "openfaas-fn").get("shop").labels == MARKED | {"floor": "2"}
    with pytest.raises(NotFound):
        await namespaces.update(named("nothing"))
    with pytest.raises(Conflict, match="default"):
        await namespaces.update(named("openfaas-fn"))


async def test_one_that_is_in_use_stays(namespaces):
    """With the reason."""
    await namespaces.create(named("shop"))
    with pytest.raises(Conflict, match="has functions"):
        await namespaces.remove("shop", lambda _name: "it has functions")
    assert "shop" in namespaces


async def test_what_belongs_to_it_goes_with_it(namespaces, place):
    """Secrets of a namespace do not come back with the next one of its name."""
    await namespaces.create(named("shop"))
    files.make_directory(namespaces.place("shop") / "secrets")
    (namespaces.place("shop") / "secrets" / "key").write_text("x")
    await namespaces.remove("shop", nobody)
    assert list(place.iterdir()) == []
    with pytest.raises(NotFound):
        await namespaces.remove("shop", nobody)
    with pytest.raises(Conflict, match="default"):
        await namespaces.remove("openfaas-fn", nobody)


async def test_a_crash_in_the_middle_of_a_removal_leaves_no_secrets(namespaces, place):
    """The file goes first; what is left is removed at the next start."""
    await namespaces.create(named("shop"))
    files.make_directory(namespaces.place("shop") / "secrets")
    (place / "shop.json").unlink()
    (place / ".new-half").write_text("{")
    again = open_namespaces(place, "openfaas-fn")
    assert again.names() == ["openfaas-fn"]
    assert list(place.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"name":"other","labels":{"openfaas":"1"}}', b'{"name":"shop"}', b"\xff"]
)
async def test_a_damaged_file_is_set_aside(namespaces, place, content, caplog):
    """Its secrets stay where they are, the rest is served, and the log names the file."""
    await namespaces.create(named("shop"))
    await namespaces.create(named("rest"))
    files.make_directory(namespaces.place("shop") / "secrets")
    (place / "shop.json").write_bytes(content)
    again = open_namespaces(place, "openfaas-fn")
    assert again.names() == ["openfaas-fn", "rest"]
    assert (place / "shop.damaged").read_bytes() == content
    assert (place / "shop" / "secrets").is_dir()
    assert "shop.json is set aside" in caplog.text


async def test_many_at_once(namespaces, place):
    """Of twenty who make the same one, one does; the file is whole."""
    results = []

    async def make(team):
        try:
            await namespaces.create(named("shop", team=str(team)))
        except Conflict:
            results.append(None)
        else:
            results.append(str(team))

    async with trio.open_nursery() as nursery:
        for team in range(20):
            nursery.start_soon(make, team)
    (winner,) = [team for team in results if team is not None]
    kept = msgspec.json.decode((place / "shop.json").read_bytes(), type=Namespace)
    assert kept.labels == MARKED | {"team": winner}
