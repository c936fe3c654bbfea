"""Peers that lie, stop, break off and talk out of turn: the pool's errors, and what it may try again."""

from __future__ import annotations

import socket
import struct
from contextlib import suppress

import pytest
import trio

from faasd_py.http.client import Pool, dial_tcp, dial_unix
from faasd_py.http.collect import Collector
from faasd_py.http.errors import BadAnswer, ConnectFailed, PeerClosed, WireError

from .support import Script, Wire, pooled, proxied, request_head, upstream

HOST = b"Host: a\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
LIMIT = 1 << 20


async def ask(pool: Pool, method: bytes = b"GET", body: bytes = b"", headers: bytes = HOST) -> Collector:
    """One request with its whole body at hand."""
    reply = Collector(LIMIT)
    lines = headers + (b"Content-Length: %d\r\n" % len(body) if body else b"")
    await pool.request(method, b"/", lines, body, len(body), None, reply)
    return reply


async def until_gone(wire: Wire) -> None:
    while await wire.more():
        pass


def says(data: bytes, *, then_close: bool = False) -> Script:
    """A peer that answers every request with the same bytes."""

    async def script(wire: Wire, _n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            await wire.send(data)
            if then_close:
                return

    return script


def reset(wire: Wire) -> None:
    """Make the coming close a reset."""
    wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # type: ignore[attr-defined]


BAD_ANSWERS = {
    "garbage": b"hello\r\n\r\n",
    "binary": b"\x00\x01\x02\x03" * 10,
    "an ssh server": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "HTTP/0.9": b"<html>hello</html>",
    "HTTP/2": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
    "status in words": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 000": b"HTTP/1.1 000 OK\r\nContent-Length: 2\r\n\r\nok",
    "status 099": b"HTTP/1.1 099 OK\r\nContent-Length: 2\r\n\r\nok",
    "length and chunked": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "differing lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nok!",
    "negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
    "plus length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
    "hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok",
    "huge length": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\nok",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok",
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "bare CR": b"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 2\r\n\r\nok",
    "NUL": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok",
    "obs-fold": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok",
    "no colon": b"HTTP/1.1 200 OK\r\nX\r\nContent-Length: 2\r\n\r\nok",
    "bad name": b"HTTP/1.1 200 OK\r\nX X: 1\r\nContent-Length: 2\r\n\r\nok",
    "CR in the reason": b"HTTP/1.1 200 O\rK\r\nContent-Length: 2\r\n\r\nok",
    "unknown coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\nok",
    "chunked twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "bad chunk size in the first packet": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n0\r\n\r\n",
    "101 that was not asked for": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "a request": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
}


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


BROKEN_ENDINGS = {
    "nothing": b"",
    "half a status line": b"HTTP/1.1 20",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "a head without end": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n",
    "half a body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf",
    "no body": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n",
    "half a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "no last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "no end of trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "only 100": b"HTTP/1.1 100 Continue\r\n\r\n",
}
BEGUN = {"half a body", "no body", "half a chunk", "no last chunk", "no end of trailers"}


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


GOOD_ANSWERS = {
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "chunked": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    "chunked with a trailer": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n\r\n", b"hello"),
    "chunked with extensions": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0;c\r\n\r\n", b"hello"),
    "no reason": (b"HTTP/1.1 200 \r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "a long reason": (b"HTTP/1.1 200 " + b"very " * 50 + b"OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "an unusual status": (b"HTTP/1.1 599 Odd\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "100 first": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "103 first": (b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "several 1xx": (b"HTTP/1.1 102 P\r\n\r\n" * 3 + b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
    "empty": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 99\r\n\r\n", b""),
    "equal lengths": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", b"hello"),
}  # fmt: skip


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


UNTIL_CLOSE = {
    "1.1 without framing": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "1.0 without framing": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "close and no length": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
}


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
    async with upstream(says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + lines + b"\r\nok")) as peer, pooled(peer) as pool:
        await ask(pool)
        assert b"connection" not in (await ask(pool)).headers.lower()
        assert peer.connections == 2


async def test_http10_peers_are_used_once() -> None:
    """Without keep-alive an HTTP/1.0 connection ends with its answer."""
    async with upstream(says(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok")) as peer, pooled(peer) as pool:
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


ENDLESS_CHUNKS = {"extension": b"5;" + b"x" * 300_000, "size": b"0" * 300_000, "trailers": b"0\r\n" + b"X-A: 1\r\n" * 40_000}


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


async def test_a_peer_that_never_answers_is_timed_out() -> None:
    """`read_timeout` without a byte: PeerClosed, the connection is closed, and it is not tried again."""
    async with upstream(lambda wire, _n: until_gone(wire)) as peer, pooled(peer, read_timeout=0.2) as pool:
        with trio.fail_after(2), pytest.raises(PeerClosed):
            await ask(pool)
        assert peer.connections == 1


async def test_a_peer_that_never_reads_is_timed_out() -> None:
    """`write_timeout` without a byte taken."""

    async def deaf(_wire: Wire, _n: int) -> None:
        await trio.sleep_forever()

    async with upstream(deaf) as peer, pooled(peer, write_timeout=0.2) as pool:
        with trio.fail_after(3), pytest.raises(PeerClosed):
            await ask(pool, b"POST", bytes(32 << 20))
        assert peer.connections == 1


async def test_no_read_timeout_means_none() -> None:
    """`read_timeout=None`: a long silence is the caller's matter."""

    async def slow(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await trio.sleep(0.6)
        await wire.send(OK)

    async with upstream(slow) as peer, pooled(peer, read_timeout=None, write_timeout=None) as pool:
        assert (await ask(pool)).body == b"ok"


async def test_a_slow_answer_that_moves_is_not_timed_out() -> None:
    """`read_timeout` is about progress."""

    async def drip(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        for byte in OK:
            await wire.send(bytes([byte]))
            await trio.sleep(0.01)

    async with upstream(drip) as peer, pooled(peer, read_timeout=0.3) as pool:
        assert (await ask(pool)).body == b"ok"


async def test_nobody_listening_is_connect_failed() -> None:
    """A refused connection, and a unix socket that is not there."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    async with pooled(dial_tcp("127.0.0.1", sock.getsockname()[1], 1.0)) as pool:
        with pytest.raises(ConnectFailed):
            await ask(pool)
    sock.close()
    async with pooled(dial_unix("/nonexistent/socket", 1.0)) as pool:
        with pytest.raises(ConnectFailed):
            await ask(pool)


async def test_a_connect_that_hangs_is_connect_failed() -> None:
    """A full backlog never completes the handshake: the dial's timeout ends it."""
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    sock.listen(0)
    fillers = []
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(sock.getsockname())
        fillers.append(filler)
    async with pooled(dial_tcp("127.0.0.1", sock.getsockname()[1], 0.3)) as pool:
        with trio.fail_after(3), pytest.raises(ConnectFailed):
            await ask(pool)
    for each in (*fillers, sock):
        each.close()


# Stale connections: what may be sent again, and what not.


async def settle() -> None:
    """Let everything that is on its way arrive."""
    await trio.testing.wait_all_tasks_blocked(0.02)


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    """The close is seen before a byte is sent: any method goes out on a new connection, once."""
    requests: list[bytes] = []

    async def once(wire: Wire, _n: int) -> None:
        requests.append(await wire.until(b"\r\n\r\n"))
        await wire.send(OK)

    async with upstream(once) as peer, pooled(peer) as pool:
        for n in range(1, 4):
            assert (await ask(pool, b"POST")).body == b"ok"
            await settle()
            assert (len(requests), peer.connections) == (n, n)


async def test_a_connection_that_was_reset_while_idle_is_replaced() -> None:
    """The same by a reset."""

    async def once(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(OK)
        await settle()
        reset(wire)

    async with upstream(once) as peer, pooled(peer) as pool:
        for n in range(1, 4):
            assert (await ask(pool, b"POST")).body == b"ok"
            await trio.sleep(0.05)
            assert peer.connections == n


@pytest.mark.parametrize("by_reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("method", [b"POST", b"GET", b"PUT"])
async def test_a_request_that_was_received_is_never_sent_twice(method: bytes, by_reset: bool) -> None:
    """The peer took it on a used connection and went away without a word: it may have acted, so it is PeerClosed."""
    requests: list[bytes] = []

    async def takes_and_leaves(wire: Wire, _n: int) -> None:
        requests.append(await wire.until(b"\r\n\r\n"))
        await wire.send(OK)
        requests.append(await wire.until(b"\r\n\r\n"))
        if by_reset:
            reset(wire)

    async with upstream(takes_and_leaves) as peer, pooled(peer) as pool:
        await ask(pool)
        with pytest.raises(PeerClosed) as caught:
            await ask(pool, method)
        assert not caught.value.began
        await settle()
        assert (len(requests), peer.connections) == (2, 1)


async def test_a_request_that_was_half_received_is_not_sent_twice() -> None:
    """Some bytes of a body were taken: a peer that acts while it reads may have acted."""
    taken: list[int] = []

    async def half(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(OK)
        await wire.until(b"\r\n\r\n")
        await wire.exactly(1000)
        taken.append(1)
        reset(wire)

    async with upstream(half) as peer, pooled(peer) as pool:
        await ask(pool)
        with pytest.raises(PeerClosed):
            await ask(pool, b"POST", bytes(8 << 20))
        await settle()
        assert (taken, peer.connections) == ([1], 1)


async def test_a_late_answer_is_not_the_next_ones() -> None:
    """A caller gave up; the answer that comes afterwards is not given to somebody else."""

    async def late(wire: Wire, n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            if n == 0:
                await trio.sleep(0.2)
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n)

    async with upstream(late) as peer, pooled(peer) as pool:
        with trio.move_on_after(0.05):
            await ask(pool)
        assert (await ask(pool)).body == b"1"
        await trio.sleep(0.25)
        assert (await ask(pool)).body != b"0"


CHATTER = {
    "a second answer": OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    "one byte": OK + b"x",
    "a line end": OK + b"\r\n",
    "too long a body": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok, and more",
    "a body to 204": b"HTTP/1.1 204 No Content\r\n\r\nevil",
    "a body to 304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil",
    "bytes behind the last chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
}


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("data", CHATTER.values(), ids=CHATTER)
async def test_bytes_out_of_turn_are_nobodys_answer(data: bytes, later: bool) -> None:
    """Response splitting: what a peer sends behind its answer, at once or while idle, never answers the next request."""
    cut = len(data) - 1 if data.endswith(b"x") else data.find(b"ok") + 2 if b"ok" in data else data.find(b"\r\n\r\n") + 4
    if b"chunked" in data:
        cut = data.index(b"0\r\n\r\n") + 5

    async def chatty(wire: Wire, n: int) -> None:
        await wire.until(b"\r\n\r\n")
        if n:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
        elif later:
            await wire.send(data[:cut])
            await settle()
            await wire.send(data[cut:])
        else:
            await wire.send(data)
        await until_gone(wire)

    async with upstream(chatty) as peer, pooled(peer) as pool:
        first = await ask(pool)
        assert b"evil" not in first.body
        await trio.sleep(0.06)
        assert (await ask(pool)).body == b"good"
        assert peer.connections == 2


async def test_a_408_on_an_idle_connection_is_not_an_answer() -> None:
    """Servers say 408 and close an idle connection: the next request goes to a new one (RFC 9110 §15.5.9)."""

    async def impatient(wire: Wire, n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(OK)
        if n == 0:
            await settle()
            await wire.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        await until_gone(wire)

    async with upstream(impatient) as peer, pooled(peer) as pool:
        await ask(pool)
        await trio.sleep(0.06)
        assert (await ask(pool, b"POST")).status == 200
        assert peer.connections == 2


# What our client writes.


async def test_requests_are_written_by_the_letter() -> None:
    """Strictly readable heads; exactly one framing field; Content-Length or chunks, never both."""
    heads: list[tuple[bytes, bytes, list[tuple[bytes, bytes]]]] = []
    bodies: list[bytes] = []

    async def script(wire: Wire, _n: int) -> None:
        while True:
            heads.append(request_head(await wire.until(b"\r\n\r\n")))
            fields = dict(heads[-1][2])
            if b"transfer-encoding" in fields:
                bodies.append(await wire.chunks())
            else:
                bodies.append(await wire.exactly(int(fields.get(b"content-length", b"0"))))
            await wire.send(OK)

    class Pieces:
        """A source of unknown length."""

        def __init__(self) -> None:
            self.left = [b"one", b"two" * 1000, b"three"]

        async def read(self) -> bytes:
            return self.left.pop(0) if self.left else b""

    async with upstream(script) as peer, pooled(peer) as pool:
        await ask(pool, b"POST", b"hello")
        await pool.request(b"PUT", b"/x?y", HOST, None, None, Pieces(), Collector(LIMIT))
        await pool.request(b"POST", b"/n", HOST + b"Content-Length: 3008\r\n", None, 3008, Pieces(), Collector(LIMIT))
        await ask(pool, b"GET")
        assert peer.connections == 1
    assert bodies == [b"hello", b"one" + b"two" * 1000 + b"three", b"one" + b"two" * 1000 + b"three", b""]
    for _, _, fields in heads:
        names = [name for name, _ in fields]
        assert names.count(b"host") == 1
        assert names.count(b"content-length") + names.count(b"transfer-encoding") <= 1
        assert len([n for n in names if n == b"connection"]) <= 1


async def test_a_source_that_fails_leaves_no_half_request_for_reuse() -> None:
    """The caller's source raises in the middle: the error comes out, and the connection is not used again."""
    from faasd_py.http.errors import ConnectionLost

    class Failing:
        """One piece, then the client is gone."""

        def __init__(self) -> None:
            self.first = True

        async def read(self) -> bytes:
            if self.first:
                self.first = False
                return b"half"
            raise ConnectionLost("the client went away")

    async with upstream(says(OK)) as peer, pooled(peer) as pool:
        await ask(pool)
        with trio.fail_after(3), pytest.raises((ConnectionLost, WireError)):
            await pool.request(b"POST", b"/", HOST + b"Content-Length: 9\r\n", None, 9, Failing(), Collector(LIMIT))
        assert (await ask(pool)).body == b"ok"


@pytest.mark.parametrize("size", [3, 20])
async def test_a_source_of_another_length_is_not_sent_as_a_whole(size: int) -> None:
    """Content-Length says 10; a source that gives less or more never shifts what follows on the connection."""
    evil = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"

    class Liar:
        """Gives `size` bytes, and a request behind them if that is too many."""

        def __init__(self) -> None:
            self.left = [b"x" * min(size, 10), evil if size > 10 else b""]

        async def read(self) -> bytes:
            return self.left.pop(0) if self.left else b""

    async def script(wire: Wire, _n: int) -> None:
        while True:
            head = await wire.until(b"\r\n\r\n")
            assert b"/evil" not in head
            fields = dict(request_head(head)[2])
            await wire.exactly(int(fields.get(b"content-length", b"0")))
            await wire.send(OK)

    async with upstream(script) as peer, pooled(peer) as pool:
        with trio.fail_after(3):
            with suppress(WireError, ValueError):
                await pool.request(b"POST", b"/", HOST + b"Content-Length: 10\r\n", None, 10, Liar(), Collector(LIMIT))
        assert (await ask(pool)).body == b"ok"
        await settle()


# The pool itself.


async def test_idle_connections_are_bounded_and_close() -> None:
    """`max_idle` are kept, the rest closed; `close_idle` closes them all; `aclose` too."""

    async def slow(wire: Wire, _n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            await trio.sleep(0.03)
            await wire.send(OK)

    async with upstream(slow) as peer, pooled(peer, max_idle=2) as pool:
        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(ask, pool)
        assert peer.connections == 6
        await settle()
        for _ in range(3):
            await ask(pool)
        assert peer.connections == 6
        pool.close_idle()
        await ask(pool)
        assert peer.connections == 7


async def test_many_at_once_get_their_own_answers() -> None:
    """Fifty callers, ten requests each, over one pool."""

    async def mirror(wire: Wire, _n: int) -> None:
        while True:
            _, target, _ = request_head(await wire.until(b"\r\n\r\n"))
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(target), target))

    async with upstream(mirror) as peer, pooled(peer) as pool, trio.open_nursery() as nursery:

        async def caller(name: int) -> None:
            for n in range(10):
                reply = Collector(LIMIT)
                await pool.request(b"GET", b"/%d/%d" % (name, n), HOST, b"", 0, None, reply)
                assert reply.body == b"/%d/%d" % (name, n)

        for name in range(50):
            nursery.start_soon(caller, name)
    assert peer.connections <= 50


async def test_cancelling_a_request_closes_its_connection() -> None:
    """Cancelled in any phase: the peer sees the close, and nobody gets the connection."""
    async def stuck(wire: Wire, n: int) -> None:
        await wire.until(b"\r\n\r\n")
        if n == 1:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        if n >= 2:
            await wire.send(OK)
        await until_gone(wire)

    async with upstream(stuck) as peer, pooled(peer) as pool:
        for _ in range(2):
            with trio.move_on_after(0.05) as scope:
                await ask(pool)
            assert scope.cancelled_caught
        assert (await ask(pool)).body == b"ok"
        assert peer.connections == 3


async def test_a_reply_that_fails_breaks_the_peer_off() -> None:
    """The caller's own client went away while the answer was passed on: the peer's connection is not used again."""
    from faasd_py.http.errors import ConnectionLost

    class Gone(Collector):
        """A client that is gone at the first byte."""

        async def write(self, data: bytes) -> None:
            raise ConnectionLost("the client went away")

        async def answer(self, status: int, headers: bytes, body: bytes) -> None:
            raise ConnectionLost("the client went away")

    async def large(wire: Wire, n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"%d" % n * 400_000)

    async with upstream(large) as peer, pooled(peer) as pool:
        with trio.fail_after(3), pytest.raises(ConnectionLost):
            await pool.request(b"GET", b"/", HOST, b"", 0, None, Gone(LIMIT))
        assert (await ask(pool)).body[:1] == b"1"


async def test_expect_goes_no_further() -> None:
    """100-continue is settled hop by hop: the peer is not asked to wait, and its own 100 does not reach our client twice."""

    async def eager(wire: Wire, _n: int) -> None:
        head = await wire.until(b"\r\n\r\n")
        assert b"expect" not in head.lower()
        await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await wire.exactly(5)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)

    async with proxied(eager) as (served, _peer):
        wire = await served.open()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert (await wire.answer()).status == 100
        await wire.send(b"hello")
        answer = await wire.answer()
        assert (answer.status, answer.body) == (200, b"hello")


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
