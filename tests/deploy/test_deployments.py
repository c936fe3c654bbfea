"""Deployments on disk: there whole or not at all, damaged ones set aside and told."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest

from faasd_py.core.deployment import FunctionDeployment, FunctionResources
from faasd_py.core.errors import StoreFailed
from faasd_py.deploy.deployments import Deployment, Deployments

SENT = FunctionDeployment(
    service="f",
    image="i:1",
    env_vars={"A": "ü\n"},
    labels={},
    limits=FunctionResources(memory="1Mi", amd_gpu="1"),
)


def one(name="f", namespace="dev", **more) -> Deployment:
    return Deployment(name=name, namespace=namespace, sent=SENT, created_at=5.5, **more)


@pytest.fixture
def store(tmp_path):
    return Deployments(tmp_path / "state" / "functions")


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "state" / "functions"


async def test_what_is_kept_is_loaded(store, directory):
    """Each field, in every namespace; mode 0600 in directories of our own."""
    kept = [one(), one("f", "openfaas-fn", replicas=3), one("g")]
    for each in kept:
        await store.put(each)
    assert sorted(Deployments(directory).load(), key=lambda each: each.label) == sorted(
        kept, key=lambda each: each.label
    )
    assert store.look() == Deployments(directory).load()
    assert (directory / "dev" / "f.json").stat().st_mode & 0o777 == 0o600
    assert (directory / "dev").stat().st_mode & 0o777 == 0o700


async def test_an_absent_field_stays_absent(store, directory):
    """`{}` and nothing are not the same to who sent it."""
    await store.put(one())
    (loaded,) = store.load()
    assert loaded.sent.labels == {}
    assert loaded.sent.annotations is None
    assert loaded.replicas is None


async def test_replaced_and_removed(store, directory):
    """The last one is there; a removed one is not, and may be removed again."""
    await store.put(one())
    await store.put(one(replicas=2))
    assert [each.replicas for each in store.load()] == [2]
    await store.remove("f", "dev")
    await store.remove("f", "dev")
    await store.remove("never", "there")
    assert store.load() == []


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\0" * 300,
        b"\xff",
        b"[" * 100_000,
        b'{"name": "f"}',
        b'{"name": "g", "namespace": "dev", "sent": {}, "created_at": 1}',
        b'{"name": "f", "namespace": "other", "sent": {}, "created_at": 1}',
        b'{"name": "f", "namespace": "dev", "sent": {"labels": 3}, "created_at": 1}',
    ],
)
async def test_a_damaged_file_is_set_aside(store, directory, caplog, content):
    """Renamed and logged; it is told as long as it lies there, and the others are there."""
    await store.put(one())
    await store.put(one("g"))
    (directory / "dev" / "f.json").write_bytes(content)
    for _ in range(2):
        loaded = {each.label: each for each in store.load()}
        assert set(loaded) == {"f.dev", "g.dev"}
        assert "f.json.damaged: deploy it again, or remove it" in loaded["f.dev"].damage
        assert not loaded["g.dev"].damage
    assert (directory / "dev" / "f.json.damaged").read_bytes() == content
    assert caplog.text.count("is set aside") == 1


@pytest.mark.parametrize("again", [True, False])
async def test_what_ends_damage(store, directory, again):
    """Deploying it again, or removing it."""
    await store.put(one())
    (directory / "dev" / "f.json").write_bytes(b"")
    store.load()
    if again:
        await store.put(one())
    else:
        await store.remove("f", "dev")
    assert [each.damage for each in store.load()] == [""] * again
    assert not (directory / "dev" / "f.json.damaged").exists()


async def test_what_a_crash_left_is_swept(store, directory):
    """A file that was never finished is no deployment; files that are none of ours are left."""
    await store.put(one())
    (directory / "dev" / ".new-x").write_bytes(b"half")
    (directory / "dev" / "README").write_bytes(b"mine")
    (directory / "note.txt").write_bytes(b"mine")
    assert [each.label for each in store.load()] == ["f.dev"]
    assert sorted(path.name for path in (directory / "dev").iterdir()) == ["README", "f.json"]


async def test_what_is_there_already_is_not_written_again(store, directory):
    """Deployed once more as it is: no file is exchanged, and no disk waited for."""
    path = directory / "dev" / "f.json"
    await store.put(one())
    first = path.stat()
    await store.put(one())
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    await store.put(one(replicas=2))
    assert path.stat().st_mtime_ns > first.st_mtime_ns
    assert store.look()[0].replicas == 2


@pytest.mark.parametrize("touch", [lambda path: path.unlink(), lambda path: path.write_bytes(b"{}")])
async def test_what_somebody_touched_is_written_again(store, directory, touch):
    """What is kept is what was sent last, whoever removed or changed the file."""
    await store.put(one())
    touch(directory / "dev" / "f.json")
    await store.put(one())
    assert store.look() == [one()]


async def test_what_may_not_be_on_the_disk_is_written_again(store, directory):
    """After a failure nobody knows what the disk has, whatever the file says; and what an earlier life wrote."""
    path = directory / "dev" / "f.json"
    await store.put(one())
    content = path.read_bytes()
    (directory / "dev").chmod(0o500)
    with pytest.raises(StoreFailed), as_anybody():
        await store.put(one(replicas=7))
    (directory / "dev").chmod(0o700)
    assert path.read_bytes() == content
    for again in (store, Deployments(directory)):
        before = path.stat().st_ino, path.stat().st_mtime_ns
        await again.put(one())
        assert (path.stat().st_ino, path.stat().st_mtime_ns) != before


@contextmanager
def as_anybody():
    """Root may write anywhere, so it is somebody else meanwhile."""
    ourselves = os.geteuid()
    if ourselves == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        if ourselves == 0:
            os.seteuid(0)


async def test_a_directory_that_cannot_be_written(store, directory):
    """One sentence; what was there is there."""
    await store.put(one())
    (directory / "dev").chmod(0o500)
    with pytest.raises(StoreFailed, match=r"function f\.dev cannot be kept: Permission denied"), as_anybody():
        await store.put(one(replicas=7))
    assert store.look()[0].replicas is None


async def test_a_disk_that_fails(store, directory):
    """A file stands where the directory should be."""
    directory.mkdir(parents=True)
    (directory / "dev").write_bytes(b"")
    with pytest.raises(StoreFailed, match=r"function f\.dev cannot be kept: "):
        await store.put(one())


@pytest.mark.parametrize(
    ("name", "namespace"),
    [("../x", "dev"), ("f", ".."), ("f", "a/b"), ("f", ""), ("a/b", "dev"), ("", "dev")],
)
async def test_names_never_leave_the_directory(store, name, namespace):
    """Whoever comes so far with such a name is a bug."""
    with pytest.raises(ValueError, match="name"):
        await store.put(one(name, namespace))
    with pytest.raises(ValueError, match="name"):
        await store.remove(name, namespace)


def test_looking_touches_nothing(store, directory):
    """Neither a damaged file nor a directory that is not there."""
    assert store.look() == []
    assert not directory.exists()
    (directory / "dev").mkdir(parents=True)
    (directory / "dev" / "f.json").write_bytes(b"{")
    assert store.look() == []
    assert (directory / "dev" / "f.json").exists()
