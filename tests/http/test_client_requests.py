"""What the pool writes, how long it waits, and what becomes of its connections."""

from __future__ import annotations

import socket
from contextlib import suppress

import pytest
import trio
import trio.testing

from faasd_py.http.client import dial_tcp, dial_unix
from faasd_py.http.collect import Collector
from faasd_py.http.errors import ConnectFailed, PeerClosed, WireError

from .peers import (
    HOST,
    LIMIT,
    OK,
    ask,
    says,
    settle,
    until_gone,
)
from .support import LOOPBACK, Wire, pooled, proxied, request_head, upstream


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
        await pool.request(
            b"POST", b"/n", HOST + b"Content-Length: 3008\r\n", None, 3008, Pieces(), Collector(LIMIT)
        )
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
            await pool.request(
                b"POST", b"/", HOST + b"Content-Length: 9\r\n", None, 9, Failing(), Collector(LIMIT)
            )
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
                await pool.request(
                    b"POST", b"/", HOST + b"Content-Length: 10\r\n", None, 10, Liar(), Collector(LIMIT)
                )
        assert (await ask(pool)).body == b"ok"
        await settle()


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
    sock.bind((LOOPBACK, 0))
    async with pooled(dial_tcp(LOOPBACK, sock.getsockname()[1], 1.0)) as pool:
        with pytest.raises(ConnectFailed):
            await ask(pool)
    sock.close()
    async with pooled(dial_unix("/nonexistent/socket", 1.0)) as pool:
        with pytest.raises(ConnectFailed):
            await ask(pool)


async def test_a_connect_that_hangs_is_connect_failed() -> None:
    """A full backlog never completes the handshake: the dial's timeout ends it."""
    sock = socket.socket()
    sock.bind((LOOPBACK, 0))
    sock.listen(0)
    fillers = []
    for _ in range(3):
        filler = socket.socket()
        filler.setblocking(False)
        filler.connect_ex(sock.getsockname())
        fillers.append(filler)
    async with pooled(dial_tcp(LOOPBACK, sock.getsockname()[1], 0.3)) as pool:
        with trio.fail_after(3), pytest.raises(ConnectFailed):
            await ask(pool)
    for each in (*fillers, sock):
        each.close()
