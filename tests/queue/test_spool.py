"""Large bodies in files."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import trio

from faasd_py.core.call import Spooled
from faasd_py.core.errors import QueueUnavailable
from faasd_py.queue.spool import PIECE, BodyStore, Spool


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path)


async def read_all(reader):
    pieces = []
    while piece := await reader.read():
        assert len(piece) <= PIECE
        pieces.append(piece)
    return b"".join(pieces)


async def test_what_was_written_is_read(spool):
    """Whole, in pieces, as often as one likes."""
    data = os.urandom(3 * PIECE + 17)
    async with spool.writer() as writer:
        for at in range(0, len(data), 100_000):
            await writer.write(data[at : at + 100_000])
        body = await writer.commit()
    assert body.size == len(data)
    assert await read_all(spool.reader(body)) == data
    assert await read_all(spool.reader(body)) == data


async def test_an_empty_body_is_a_body(spool):
    """Nothing to read, and no error."""
    async with spool.writer() as writer:
        body = await writer.commit()
    assert (body.size, await read_all(spool.reader(body))) == (0, b"")


async def test_what_was_not_committed_is_removed(spool, tmp_path):
    """Left early, raised, or cancelled."""
    async with spool.writer() as writer:
        await writer.write(b"x")
    with pytest.raises(ZeroDivisionError):
        async with spool.writer() as writer:
            await writer.write(b"x")
            raise ZeroDivisionError
    with trio.CancelScope() as scope:
        async with spool.writer() as writer:
            scope.cancel()
            await writer.write(b"x")
    assert list(tmp_path.iterdir()) == []


async def test_a_body_is_private(spool):
    """Only the daemon may read it."""
    async with spool.writer() as writer:
        body = await writer.commit()
    assert Path(body.path).stat().st_mode & 0o777 == 0o600


async def test_remove_is_not_cancelled_and_minds_nothing(spool, tmp_path):
    """Also when the file is gone already."""
    async with spool.writer() as writer:
        body = await writer.commit()
    with trio.CancelScope() as scope:
        scope.cancel()
        await spool.remove(body)
    assert list(tmp_path.iterdir()) == []
    await spool.remove(body)


async def test_reading_what_is_gone_is_the_queues_fault(spool, tmp_path):
    """QueueUnavailable with the reason."""
    with pytest.raises(QueueUnavailable, match="No such file"):
        await spool.reader(Spooled(path=str(tmp_path / "no"), size=1)).read()


async def test_a_spool_that_cannot_be_written_refuses(tmp_path):
    """A directory that is not there."""
    with pytest.raises(QueueUnavailable, match="cannot be stored"):
        async with Spool(tmp_path / "no").writer():
            pass


async def test_a_full_disk_refuses_and_leaves_nothing(tmp_path):
    """Nothing half-kept."""
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path], capture_output=True, check=False
    )
    if done.returncode:
        pytest.skip("mounting a small disk is not permitted")
    try:
        with pytest.raises(QueueUnavailable, match="No space"):
            async with Spool(tmp_path).writer() as writer:
                while True:
                    await writer.write(b"x" * PIECE)
        assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


async def test_the_sweep_removes_all_but_the_known(spool, tmp_path):
    """At the start nobody else can own a file."""
    (tmp_path / "a.part").write_bytes(b"")
    (tmp_path / "b.part").write_bytes(b"")
    assert spool.sweep([str(tmp_path / "a.part")]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["a.part"]
    assert Spool(tmp_path / "no").sweep() == 0


def test_a_body_store_takes_over_and_gives_back(tmp_path):
    """The file moves; undone, it is where its owner put it."""
    upload = tmp_path / "upload"
    upload.write_bytes(b"body")
    body_store = BodyStore(tmp_path / "bodies")
    body = Spooled(path=str(upload), size=4)
    kept = body_store.take(body, 77)
    assert not upload.exists()
    assert Path(kept.path).read_bytes() == b"body"
    assert list(body_store.present()) == [77]
    body_store.sync()
    body_store.give_back(body, 77)
    assert upload.exists()
    body_store.remove(77)
    assert list(body_store.present()) == []


def test_taking_what_is_not_there_changes_nothing(tmp_path):
    """OSError, and an empty body_store."""
    body_store = BodyStore(tmp_path / "bodies")
    with pytest.raises(OSError, match="No such file"):
        body_store.take(Spooled(path=str(tmp_path / "no"), size=1), 1)
    assert list(body_store.present()) == []


def test_files_that_are_no_bodies_are_left_alone(tmp_path):
    """Only names that are keys count."""
    body_store = BodyStore(tmp_path / "bodies")
    (tmp_path / "bodies" / "README").write_bytes(b"")
    assert list(body_store.present()) == []
