"""TLS at the door and towards a peer: the same HTTP inside, bad handshakes outside, certificates exchanged while running."""

from __future__ import annotations

import ssl
from functools import partial

import pytest
import trio
import trustme

from faasd_py.http.collect import Collector
from faasd_py.http.errors import ConnectFailed, PeerClosed
from faasd_py.http.server import Exchange

from .support import (
    LOOPBACK,
    Recorder,
    Served,
    Wire,
    echo,
    forward,
    length_line,
    limits,
    poll,
    pooled,
    serve,
    upstream,
)
from .test_streaming import PIECE, ROOM, SIZE, expected, growth, pull_length, stalled

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


def server_context(authority: trustme.CA, name: str = "127.0.0.1") -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.options &= ~ssl.OP_IGNORE_UNEXPECTED_EOF  # set by default in some Pythons
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def secure(served: Served, context: ssl.SSLContext) -> Wire:
    """A TLS connection after its handshake."""
    raw = await served.open()
    stream = trio.SSLStream(raw.stream, context, server_hostname="127.0.0.1", https_compatible=True)
    with trio.fail_after(5):
        await stream.do_handshake()
    return Wire(stream)


async def test_requests_and_answers_inside_tls(authority: trustme.CA) -> None:
    """Keep-alive, pipelining and bodies as without TLS."""
    async with serve(echo, tls=server_context(authority)) as served:
        wire = await secure(served, client_context(authority))
        await wire.send(
            GET + b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        assert (await wire.answer()).status == 200
        assert (await wire.answer()).body == b"hello"


async def test_a_large_echo_inside_tls(authority: trustme.CA) -> None:
    """Full duplex: reading and writing one TLS connection at once."""
    size = 4 << 20
    async with serve(echo, tls=server_context(authority)) as served, trio.open_nursery() as nursery:
        wire = await secure(served, client_context(authority))
        nursery.start_soon(
            wire.send, b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + bytes(size)
        )
        assert (await wire.answer()).body == bytes(size)


async def test_a_stream_inside_tls_in_flat_memory(authority: trustme.CA) -> None:
    """64 MiB down, and a reader that waits stops the writer, as without TLS."""
    written = [0]

    async def count(exchange: Exchange) -> None:
        await exchange.start(200, length_line(SIZE), SIZE)
        for _ in range(SIZE // len(PIECE)):
            await exchange.write(PIECE)
            written[0] += len(PIECE)
        await exchange.end()

    async with serve(count, tls=server_context(authority), sndbuf=65536) as served:
        wire = await secure(served, client_context(authority))
        with growth() as peak:
            await wire.send(GET)
            await wire.until(b"\r\n\r\n")
            assert await stalled(written) < SIZE // 2
            assert await pull_length(wire, SIZE) == expected()
    assert peak.bytes < ROOM


async def test_plain_http_at_a_tls_door_is_dropped(authority: trustme.CA) -> None:
    """No traceback, no hang, no handler; others are served."""
    recorder = Recorder()
    async with serve(recorder, tls=server_context(authority)) as served:
        for garbage in (GET, b"\x16\x03\x01\x00\x05hello", b"\x00" * 1000, b"SSH-2.0-x\r\n"):
            wire = await served.open()
            await wire.send(garbage)
            assert b"HTTP/1.1 200" not in await wire.rest()
        assert recorder.requests == []
        good = await secure(served, client_context(authority))
        await good.send(GET)
        assert (await good.answer()).status == 200


async def test_a_client_that_distrusts_us_harms_nobody(authority: trustme.CA) -> None:
    """A handshake that the client breaks off ends its connection only."""
    async with serve(Recorder(), tls=server_context(authority)) as served:
        with pytest.raises(trio.BrokenResourceError):
            await secure(served, client_context(trustme.CA()))
        good = await secure(served, client_context(authority))
        await good.send(GET)
        assert (await good.answer()).status == 200


async def test_a_handshake_that_stops_is_cut(authority: trustme.CA) -> None:
    """The head limit covers the handshake."""
    async with serve(
        Recorder(), limits(head_timeout=0.2, idle_timeout=0.2), tls=server_context(authority)
    ) as served:
        silent, half = await served.open(), await served.open()
        await half.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        with trio.fail_after(2):
            await silent.rest()
            await half.rest()
        await poll(lambda: served.server.connections == 0, "both are forgotten")


async def test_a_new_certificate_is_shown_to_new_connections(authority: trustme.CA) -> None:
    """`set_tls` as SIGHUP does it: the old connection lives on, a new one sees the new certificate."""
    other = trustme.CA()
    async with serve(Recorder(), tls=server_context(authority)) as served:
        old = await secure(served, client_context(authority))
        served.server.set_tls(server_context(other))
        new = await secure(served, client_context(other))
        for wire in (old, new):
            await wire.send(GET)
            assert (await wire.answer()).status == 200
        with pytest.raises(trio.BrokenResourceError):
            await secure(served, client_context(authority))


async def test_a_cut_without_close_notify_is_not_an_end_of_body(authority: trustme.CA) -> None:
    """Truncation: a TLS client that vanishes in the middle of a body gives no complete request."""
    recorder = Recorder()
    async with serve(recorder, tls=server_context(authority)) as served:
        wire = await secure(served, client_context(authority))
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf")
        await trio.testing.wait_all_tasks_blocked(0.02)
        await trio.aclose_forcefully(wire.stream)
        await poll(lambda: served.server.connections == 0, "it is forgotten")
    assert recorder.requests == []


async def test_the_pool_speaks_tls_and_checks_the_name(authority: trustme.CA) -> None:
    """`Pool(tls=…, server_name=…)`: the right name is served, a wrong one is ConnectFailed, and nothing was sent."""
    recorder = Recorder()
    async with serve(recorder, tls=server_context(authority, "fn.test")) as served:
        from faasd_py.http.client import dial_tcp

        dial = dial_tcp(LOOPBACK, served.port, 2.0)
        async with pooled(dial, tls=client_context(authority), server_name="fn.test") as pool:
            for _ in range(2):
                reply = Collector(1000)
                await pool.request(b"GET", b"/", b"Host: fn.test\r\n", b"", 0, None, reply)
                assert (reply.status, reply.complete) == (200, True)
        async with pooled(dial, tls=client_context(authority), server_name="other.test") as pool:
            with pytest.raises(ConnectFailed):
                await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, Collector(1000))
        async with pooled(dial, tls=client_context(trustme.CA()), server_name="fn.test") as pool:
            with pytest.raises(ConnectFailed):
                await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, Collector(1000))
    assert len(recorder.requests) == 2


async def test_a_peer_that_speaks_no_tls_is_connect_failed(authority: trustme.CA) -> None:
    """A plain HTTP peer at the other end of a TLS pool: nothing was sent, so it may be tried again elsewhere."""

    async def plain(wire: Wire, _n: int) -> None:
        await wire.more()
        await wire.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    async with upstream(plain) as peer, pooled(peer, tls=client_context(authority), server_name="a") as pool:
        with pytest.raises(ConnectFailed):
            await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, Collector(1000))


async def test_the_end_of_an_answer_is_announced(authority: trustme.CA) -> None:
    """close_notify at the end of a connection, so that nobody takes an answer until close for a cut one (RFC 9112 §9.8)."""

    async def drip(exchange: Exchange) -> None:
        await exchange.start(200, b"", None)
        await exchange.write(b"all of it")
        await exchange.end()

    async with serve(drip, tls=server_context(authority)) as served:
        for raw in (
            b"GET / HTTP/1.0\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            b"nonsense\r\n\r\n",
        ):
            plain = await served.open()
            stream = trio.SSLStream(plain.stream, client_context(authority), server_hostname="127.0.0.1")
            await stream.send_all(raw)
            wire = Wire(stream)
            rest = await wire.rest()
            assert rest.startswith(b"HTTP/1.1 ")
            assert not wire.reset, raw


async def test_a_tunnel_inside_tls(authority: trustme.CA) -> None:
    """A WebSocket over TLS: bytes both ways, and the end of one direction reaches the other side."""

    async def shout(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        await wire.send((await wire.exactly(5)).upper())

    async with (
        upstream(shout) as peer,
        pooled(peer) as pool,
        serve(partial(forward, pool), tls=server_context(authority)) as served,
    ):
        wire = await secure(served, client_context(authority))
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        assert (await wire.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        await wire.send(b"hello")
        assert await wire.exactly(5) == b"HELLO"
        assert await wire.closed()


async def test_the_end_of_a_broken_answer_is_not_announced(authority: trustme.CA) -> None:
    """An answer until close that broke off ends without close_notify: the client can tell."""

    async def broken(exchange: Exchange) -> None:
        await exchange.start(200, b"", None)
        await exchange.write(b"half of it")
        raise PeerClosed("the peer broke off", began=True)

    async with serve(broken, tls=server_context(authority)) as served:
        plain = await served.open()
        stream = trio.SSLStream(plain.stream, client_context(authority), server_hostname="127.0.0.1")
        await stream.send_all(b"GET / HTTP/1.0\r\n\r\n")
        wire = Wire(stream)
        assert (await wire.rest()).endswith(b"half of it")
        assert wire.reset
