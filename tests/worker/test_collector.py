"""Answers are kept whole, in a file, or not at all; and a full disk costs no more than the body."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.call import Spooled
from faasd_py.core.errors import FunctionUnavailable, QueueUnavailable
from faasd_py.http import fields
from faasd_py.queue.spool import Spool
from faasd_py.worker.collector import Collector, end_to_end


async def fill(reply: Collector, pieces: list[bytes], *, end: bool = True) -> Collector:
    await reply.start(200, b"X: y\r\n", None)
    for piece in pieces:
        await reply.write(piece)
    if end:
        await reply.end()
    return reply


@pytest.mark.parametrize("pieces", [[], [b""], [b"12345"], [b"1", b"23", b"", b"45"], [b"1"] * 5])
async def test_up_to_the_limit_it_is_kept(pieces):
    """In one piece or in many, up to the last byte."""
    reply = await fill(Collector(5, None, 100), pieces)
    whole = b"".join(pieces)
    assert (reply.body, reply.size, reply.complete) == (whole, len(whole), True)
    assert await reply.commit() == whole


@pytest.mark.parametrize("pieces", [[b"123456"], [b"12345", b"6"], [b"1"] * 6, [b"123", b"456", b"789"]])
@pytest.mark.parametrize("at_once", [False, True])
async def test_over_the_limit(tmp_path, pieces, at_once):
    """Without a spool it is counted and dropped; with one all of it is in the file, and none in the record."""
    whole = b"".join(pieces)
    for spool in (None, Spool(tmp_path)):
        reply = Collector(5, spool, 100)
        if at_once:
            await reply.answer(200, b"", whole)
        else:
            await fill(reply, pieces)
        assert (reply.status, reply.body, reply.size, reply.complete) == (200, b"", len(whole), False)
        found = await reply.commit()
        if spool is None:
            assert found is None
        else:
            assert isinstance(found, Spooled)
            assert found.size == len(whole)
            assert [path.read_bytes() for path in tmp_path.iterdir()] == [whole]


async def test_closed_without_commit(tmp_path):
    """No file stays."""
    reply = await fill(Collector(5, Spool(tmp_path), 100), [b"x" * 50], end=False)
    assert reply.spooling
    await reply.close()
    assert not reply.spooling
    assert list(tmp_path.iterdir()) == []
    await reply.close()


async def test_larger_than_anything(tmp_path):
    """Over `most` the file goes, and what still comes is only counted."""
    reply = await fill(Collector(5, Spool(tmp_path), 20), [b"x" * 10] * 5)
    assert reply.size == 50
    assert await reply.commit() is None
    assert list(tmp_path.iterdir()) == []


class FullSpool:
    """Has no room: from the opening, the first write, a later one, or the commit on."""

    def __init__(self, when: int) -> None:
        self.left = when

    def use(self) -> None:
        if self.left == 0:
            raise QueueUnavailable("the disk is full")
        self.left -= 1

    @asynccontextmanager
    async def writer(self):
        self.use()
        yield self

    async def write(self, data: bytes) -> None:
        self.use()

    async def commit(self) -> Spooled:
        self.use()
        return Spooled(path="x", size=1)


@pytest.mark.parametrize("when", [0, 1, 2, 3])
async def test_a_full_disk(when, caplog):
    """The answer is lost for the callback and said so, the call is not: no error comes out."""
    reply = await fill(Collector(5, FullSpool(when), 100), [b"x" * 10, b"y" * 10])
    assert (reply.size, reply.complete) == (20, False)
    assert await reply.commit() is None
    assert "the disk is full" in caplog.text
    assert not reply.spooling


async def test_nobody_is_there_for_a_tunnel():
    """A function that switches protocols on an asynchronous call could not answer."""
    with pytest.raises(FunctionUnavailable, match="switched protocols"):
        await Collector(5, None, 5).tunnel(b"", None)


names = st.sampled_from([b"Content-Length", b"content-length", b"X-Content-Length", b"Content-Type", b"X"])
block = st.lists(st.tuples(names, st.sampled_from([b"5", b"", b"content-length: 7", b"a:b"])), max_size=5)


@given(block)
def test_only_the_length_is_cut(lines):
    """Of well-formed lines with one Content-Length at most, exactly that line goes."""
    seen, kept = False, []
    for name, value in lines:
        if name.lower() != b"content-length" or not seen:
            kept.append(name + b": " + value + b"\r\n")
            seen = seen or name.lower() == b"content-length"
    whole = b"".join(kept)
    assert end_to_end(whole) == fields.without(whole, b"content-length")
