"""Peers that lie, stop and break off: what the pool makes of their answers."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from faasd_py.http.collect import Collector
from faasd_py.http.errors import BadAnswer, PeerClosed

from .peers import (
    BAD_ANSWERS,
    BEGUN,
    BROKEN_ENDINGS,
    GOOD_ANSWERS,
    HOST,
    LIMIT,
    UNTIL_CLOSE,
    ask,
    reset,
    says,
    until_gone,
)
from .support import Wire, pooled, proxied, upstream


@pytest.mark.parametrize("data", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_a_bad_answer_is_bad_answer(data: bytes) -> None:
    """It is never passed on as an answer, never tried again, and its connection never used again."""
    async with upstream(says(data, then_close=True)) as peer, pooled(peer) as pool:
        reply = Collector(LIMIT)
        with pytest.raises((BadAnswer, PeerClosed)):
            await pool.request(b"GET", b"/", HOST, b"", 0, None, reply)
        assert not reply.complete
        assert peer.connections == 1


@pytest.mark.parametrize("data", BAD_ANSWERS.values(), ids=BAD_ANSWERS)
async def test_a_bad_answer_is_502_or_broken_off_through_the_proxy(data: bytes) -> None:
    """The client behind the proxy gets a clean 502, or a visibly broken answer; never a whole one."""
    async with proxied(says(data)) as (served, peer):
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with trio.fail_after(5):
            head = await wire.until(b"\r\n\r\n")
            if head.startswith(b"HTTP/1.1 502 "):
                return
            assert b"transfer-encoding: chunked" in head.lower()
            assert not (await wire.rest()).endswith(b"0\r\n\r\n")
    assert peer.connections == 1


@pytest.mark.parametrize("by_reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("name", BROKEN_ENDINGS)
async def test_an_answer_that_breaks_off_is_peer_closed(name: str, by_reset: bool) -> None:
    """`began` tells whether the reply had begun; the request is sent once only."""

    async def script(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        if BROKEN_ENDINGS[name]:
            await wire.send(BROKEN_ENDINGS[name])
        await trio.testing.wait_all_tasks_blocked(0.01)
        if by_reset:
            reset(wire)

    async with upstream(script) as peer, pooled(peer) as pool:
        reply = Collector(LIMIT)
        with pytest.raises(PeerClosed) as caught:
            await pool.request(b"GET", b"/", HOST, b"", 0, None, reply)
        assert peer.connections == 1
    assert not reply.complete
    assert caught.value.began is (reply.status != 0)
    if name not in BEGUN:
        assert not caught.value.began


@pytest.mark.parametrize("name", sorted(BEGUN))
async def test_a_broken_answer_is_visibly_broken_to_the_client(name: str) -> None:
    """Through the proxy, what broke off upstream cannot look whole downstream."""
    async with proxied(says(BROKEN_ENDINGS[name], then_close=True)) as (served, _peer):
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        with pytest.raises(EOFError):
            answer = await wire.answer()
            assert answer.status == 502
            raise EOFError


@pytest.mark.parametrize(("data", "body"), GOOD_ANSWERS.values(), ids=GOOD_ANSWERS)
async def test_a_good_answer_is_passed_on_and_its_connection_used_again(data: bytes, body: bytes) -> None:
    """Three requests, one connection."""
    async with upstream(says(data)) as peer, pooled(peer) as pool:
        for _ in range(3):
            reply = await ask(pool)
            assert (reply.body, reply.complete) == (body, True)
            assert reply.status == int(data.rsplit(b"HTTP/1.1 ", 1)[1][:3])
            assert b"transfer-encoding" not in reply.headers.lower()
        assert peer.connections == 1


@pytest.mark.parametrize("data", UNTIL_CLOSE.values(), ids=UNTIL_CLOSE)
async def test_an_answer_without_length_lasts_until_the_close(data: bytes) -> None:
    """RFC 9112 §6.3; streamed on as chunks, and the connection is not used again."""
    async with upstream(says(data, then_close=True)) as peer, pooled(peer) as pool:
        for n in (1, 2):
            reply = await ask(pool)
            assert (reply.status, reply.body, reply.complete) == (200, b"hello", True)
            assert peer.connections == n
    async with proxied(says(data, then_close=True)) as (served, _peer):
        answer = await served.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (answer.status, answer.body) == (200, b"hello")


@pytest.mark.parametrize("lines", [b"Connection: close\r\n", b"Connection: Close, foo\r\n"])
async def test_a_peer_that_says_close_is_not_used_again(lines: bytes) -> None:
    """Connection: close, even if the peer then leaves it open."""
    async with (
        upstream(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + lines + b"\r\nok")) as peer,
        pooled(peer) as pool,
    ):
        await ask(pool)
        assert b"connection" not in (await ask(pool)).headers.lower()
        assert peer.connections == 2


async def test_http10_peers_are_used_once() -> None:
    """Without keep-alive an HTTP/1.0 connection ends with its answer."""
    async with (
        upstream(says(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")) as peer,
        pooled(peer) as pool,
    ):
        await ask(pool)
        assert (await ask(pool)).body == b"ok"
        assert peer.connections == 2


async def test_an_answer_to_head_has_no_body() -> None:
    """Content-Length is the GET's; the next answer is not eaten."""
    data = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    async with upstream(says(data)) as peer, pooled(peer) as pool:
        for _ in range(2):
            reply = await ask(pool, b"HEAD")
            assert (reply.status, reply.body, reply.complete) == (200, b"", True)
            assert b"content-length: 1000\r\n" in reply.headers.lower()
        assert peer.connections == 1


async def test_an_endless_head_is_cut() -> None:
    """A peer's head has a limit too, by bytes of one line and by number of lines."""
    for filler in (b"X" * 65536, b"X: y\r\n" * 10_000):

        async def endless(wire: Wire, _n: int, filler: bytes = filler) -> None:
            await wire.until(b"\r\n\r\n")
            await wire.send(b"HTTP/1.1 200 OK\r\n")
            for _ in range(200):
                await wire.send(filler)

        async with upstream(endless) as peer, pooled(peer) as pool:
            with trio.fail_after(5), pytest.raises(BadAnswer):
                await ask(pool)
            assert peer.connections == 1


async def test_endless_interim_answers_are_cut() -> None:
    """100 Continue for ever is no answer."""

    async def endless(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        while True:
            await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 100)

    async with upstream(endless) as peer, pooled(peer, read_timeout=0.5) as pool:
        with trio.fail_after(5), pytest.raises((BadAnswer, PeerClosed)):
            await ask(pool)


ENDLESS_CHUNKS = {
    "extension": b"5;" + b"x" * 300_000,
    "size": b"0" * 300_000,
    "trailers": b"0\r\n" + b"X-A: 1\r\n" * 40_000,
}


@pytest.mark.parametrize("data", ENDLESS_CHUNKS.values(), ids=ENDLESS_CHUNKS)
async def test_endless_chunk_overhead_is_cut(data: bytes) -> None:
    """As on the server's side."""
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

    async def endless(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(head + data)
        await until_gone(wire)

    async with upstream(endless) as peer, pooled(peer) as pool:
        with trio.fail_after(5), pytest.raises((BadAnswer, PeerClosed)):
            await ask(pool)


async def test_a_chunk_error_in_the_middle_is_bad_answer_that_began() -> None:
    """The reply has begun, so the caller must break off."""

    async def script(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await trio.testing.wait_all_tasks_blocked(0.01)
        await wire.send(b"oops\r\n")
        await until_gone(wire)

    async with upstream(script) as peer, pooled(peer) as pool:
        reply = Collector(LIMIT)
        with trio.fail_after(3), pytest.raises(BadAnswer):
            await pool.request(b"GET", b"/", HOST, b"", 0, None, reply)
        assert (reply.status, reply.complete) == (200, False)
        assert peer.connections == 1


async def test_hop_by_hop_fields_of_an_answer_are_cut_out() -> None:
    """RFC 9110 §7.6.1, on the way back; the others arrive as they came."""
    data = (
        b"HTTP/1.1 200 OK\r\nX-One:  1\r\nConnection: x-secret\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authenticate: x\r\n"
        b"Set-Cookie: a=b\r\nSet-Cookie: c=d\r\nTrailer: X\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nok"
    )
    async with proxied(says(data)) as (served, _peer):
        answer = await served.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    names = [name.lower() for name, _ in answer.headers]
    assert answer.get_all(b"set-cookie") == [b"a=b", b"c=d"]
    assert answer.get(b"x-one") == b"1"
    assert not {b"x-secret", b"keep-alive", b"proxy-authenticate", b"trailer", b"upgrade"} & set(names)
