"""The same over unix sockets, IPv6, and several doors at once; and the pool with its own task, which keeps time another way."""

from __future__ import annotations

import socket
from functools import partial
from pathlib import Path

import pytest
import trio

from faasd_py.http.client import Pool, dial_tcp, dial_unix
from faasd_py.http.collect import Collector
from faasd_py.http.errors import BadAnswer, ConnectFailed, PeerClosed
from faasd_py.http.server import Exchange, Server

from .support import (
    LIMITS,
    LOOPBACK,
    Recorder,
    Wire,
    echo,
    forward,
    listener,
    poll,
    pooled,
    serve,
    upstream,
    whole,
)

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
HOST = b"Host: a\r\n"
SILENCE = 0.2


def unix_listener(path: Path) -> socket.socket:
    """A listening unix socket."""
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(str(path))
    sock.listen(16)
    sock.setblocking(False)
    return sock


async def ask(pool: Pool, body: bytes = b"") -> Collector:
    reply = Collector(1 << 20)
    lines = HOST + (b"Content-Length: %d\r\n" % len(body) if body else b"")
    await pool.request(b"POST", b"/", lines, body, len(body), None, reply)
    return reply


async def test_a_unix_socket_both_ways(tmp_path: Path) -> None:
    """The client of a unix socket is b"unix"; the pool dials it; bodies stream."""
    peers: list[bytes] = []

    async def named(exchange: Exchange) -> None:
        peers.append(exchange.peer)
        await exchange.answer(200, b"", await whole(exchange))

    server = Server(named, LIMITS)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, [unix_listener(tmp_path / "s")]))
        async with pooled(dial_unix(str(tmp_path / "s"), 1.0)) as pool:
            for body in (b"", b"hello", b"x" * 500_000):
                assert (await ask(pool, body)).body == body
            assert pool.idle == 1
        nursery.cancel_scope.cancel()
    assert set(peers) == {b"unix"}


async def test_several_doors_at_once(tmp_path: Path) -> None:
    """TCP, a second TCP and a unix socket, one server, counted together; drain closes them all."""
    server, doors = (
        Server(Recorder(), LIMITS),
        [listener(LOOPBACK), listener(LOOPBACK), unix_listener(tmp_path / "s")],
    )
    dials = [
        dial_tcp(LOOPBACK, doors[0].getsockname()[1], 1.0),
        dial_tcp(LOOPBACK, doors[1].getsockname()[1], 1.0),
        dial_unix(str(tmp_path / "s"), 1.0),
    ]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, doors))
        for dial in dials:
            async with pooled(dial) as pool:
                assert (await ask(pool)).status == 200
                assert server.connections >= 1
        await poll(lambda: server.connections == 0, "all are closed")
        server.drain()
    for dial in dials:
        async with pooled(dial) as pool:
            with pytest.raises(ConnectFailed):
                await ask(pool)


async def test_ipv6(recwarn: pytest.WarningsRecorder) -> None:
    """An IPv6 door, its peer's name in brackets, and a dial to ::1."""
    del recwarn
    sock = socket.socket(socket.AF_INET6)
    try:
        sock.bind(("::1", 0))
    except OSError:
        sock.close()
        pytest.skip("no IPv6 here")
    sock.listen(16)
    sock.setblocking(False)
    peers: list[bytes] = []

    async def named(exchange: Exchange) -> None:
        peers.append(exchange.peer)
        await exchange.answer(200, b"", b"")

    server = Server(named, LIMITS)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, [sock]))
        async with pooled(dial_tcp("::1", sock.getsockname()[1], 1.0)) as pool:
            assert (await ask(pool)).status == 200
        nursery.cancel_scope.cancel()
    assert peers[0].startswith(b"[::1]:")


async def test_a_name_is_tried_at_each_of_its_addresses() -> None:
    """`localhost` may be ::1 first, where nobody listens: the next address is tried."""
    sock = socket.create_server(("127.0.0.1", 0))
    server = Server(Recorder(), LIMITS)
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, [sock]))
        async with pooled(dial_tcp("localhost", sock.getsockname()[1], 2.0)) as pool:
            assert (await ask(pool)).status == 200
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("host", ["no.such.host.invalid", "a" * 300, "\x00", "", "999.1.1.1"])
async def test_a_name_that_cannot_be_resolved_is_connect_failed(host: str) -> None:
    """Whatever is wrong with it."""
    async with pooled(dial_tcp(host, 1, 2.0)) as pool:
        with pytest.raises(ConnectFailed):
            await ask(pool)


async def test_the_peer_of_a_request_is_its_client() -> None:
    """`peer` is address and port of the client's end."""
    peers: list[bytes] = []

    async def named(exchange: Exchange) -> None:
        peers.append(exchange.peer)
        await exchange.answer(200, b"", b"")

    async with serve(named) as served:
        wire = await served.open()
        name = wire.stream.socket.getsockname()  # type: ignore[attr-defined]
        await wire.send(GET)
        await wire.answer()
    assert peers == [f"{name[0]}:{name[1]}".encode()]


async def silent(wire: Wire, _n: int) -> None:
    """Take everything, say nothing."""
    while await wire.more():
        pass


async def half_said(wire: Wire, _n: int) -> None:
    """Stop in the middle of an answer."""
    await wire.until(b"\r\n\r\n")
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
    await wire.more()


async def half_head(wire: Wire, _n: int) -> None:
    """Stop in the middle of a head."""
    await wire.until(b"\r\n\r\n")
    await wire.send(b"HTTP/1.1 200 OK\r\nContent")
    await wire.more()


async def deaf(_wire: Wire, _n: int) -> None:
    """Read nothing."""
    await trio.sleep_forever()


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("script", [silent, half_said, half_head])
async def test_a_peer_that_falls_silent_is_timed_out(script: object, running: bool) -> None:
    """By a scope of each wait, or by the pool's own task: PeerClosed, `began` as it was, once, and soon."""
    async with upstream(script) as peer, pooled(peer, running=running, read_timeout=SILENCE) as pool:  # type: ignore[arg-type]
        reply = Collector(1000)
        with trio.fail_after(2), pytest.raises(PeerClosed) as caught:
            await pool.request(b"GET", b"/", HOST, b"", 0, None, reply)
        assert caught.value.began is (script is half_said)
        assert (peer.connections, pool.idle) == (1, 0)


@pytest.mark.parametrize("running", [False, True])
async def test_a_peer_that_is_deaf_is_timed_out(running: bool) -> None:
    """`write_timeout`, with a body at hand and with a source."""

    class Endless:
        """A body without end."""

        async def read(self) -> bytes:
            await trio.lowlevel.checkpoint()
            return bytes(65536)

    async with upstream(deaf) as peer, pooled(peer, running=running, write_timeout=SILENCE) as pool:
        with trio.fail_after(3), pytest.raises(PeerClosed):
            await ask(pool, bytes(32 << 20))
        with trio.fail_after(3), pytest.raises(PeerClosed):
            await pool.request(b"POST", b"/", HOST, None, None, Endless(), Collector(1000))


@pytest.mark.parametrize("running", [False, True])
async def test_idle_connections_are_closed_in_time(running: bool) -> None:
    """After `idle_timeout` a connection is not used again; with its own task the pool closes it by itself."""

    async def fine(wire: Wire, _n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with upstream(fine) as peer, pooled(peer, running=running, idle_timeout=SILENCE) as pool:
        await ask(pool)
        await ask(pool)
        assert peer.connections == 1
        if running:
            await poll(lambda: pool.idle == 0, "it is closed", 3.0)
        else:
            await trio.sleep(1.2 * SILENCE)
        await ask(pool)
        assert peer.connections == 2


@pytest.mark.parametrize("running", [False, True])
async def test_a_proxy_with_a_running_pool(running: bool) -> None:
    """Server → pool → server, all real: echo in all sizes, in chunks and by length, HEAD, and many at once."""
    async with (
        serve(echo) as inner,
        pooled(dial_tcp(LOOPBACK, inner.port, 1.0), running=running) as pool,
        serve(partial(forward, pool)) as outer,
    ):
        wire = await outer.open()
        for size in (0, 1, 1000, 65536, 70_000, 400_000):
            body = bytes(range(256)) * (size // 256 + 1)
            body = body[:size]
            for head, raw in (
                (b"Content-Length: %d\r\n" % size, body),
                (
                    b"Transfer-Encoding: chunked\r\n",
                    (b"%x\r\n%b\r\n" % (size, body) if size else b"") + b"0\r\n\r\n",
                ),
            ):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(wire.send, b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n" + raw)
                    assert (await wire.answer()).body == body
        await wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n" + GET)
        assert (await wire.answer(b"HEAD")).status == 200
        assert (await wire.answer()).status == 200
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(outer.ask, GET)


HEAD_ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "neither": b"HTTP/1.1 200 OK\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
    "304 chunked": b"HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "204 with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n",
}


@pytest.mark.parametrize("data", HEAD_ANSWERS.values(), ids=HEAD_ANSWERS)
async def test_bodiless_answers_through_the_proxy(data: bytes) -> None:
    """HEAD, 204 and 304: no body however they are framed, and both connections go on."""

    async def script(wire: Wire, _n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            await wire.send(data)

    async with upstream(script) as peer, pooled(peer) as pool, serve(partial(forward, pool)) as served:
        wire = await served.open()
        for _ in range(3):
            await wire.send(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await wire.answer(b"HEAD")
            assert answer.status == int(data[9:12])
        assert not wire.buffer
        assert peer.connections == 1


async def test_a_pool_that_was_closed_keeps_nothing() -> None:
    """A request that ends after `aclose` closes its connection."""
    go = trio.Event()

    async def held(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await go.wait()
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        assert not await wire.more()

    async with upstream(held) as peer, trio.open_nursery() as nursery:
        pool = Pool(peer.dial())
        nursery.start_soon(ask, pool)
        await poll(lambda: peer.connections == 1, "the request is out")
        await pool.aclose()
        go.set()
        await poll(lambda: pool.idle == 0, "nothing is kept")


async def test_bad_answer_while_the_source_waits() -> None:
    """The peer talks nonsense while the client still has to send: the error comes at once, not after the client."""

    class Waiting:
        """A client that says nothing more."""

        async def read(self) -> bytes:
            await trio.sleep_forever()
            raise AssertionError

    async def nonsense(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"nonsense\r\n\r\n")
        await wire.more()

    async with upstream(nonsense) as peer, pooled(peer) as pool:
        with trio.fail_after(2), pytest.raises(BadAnswer):
            await pool.request(b"POST", b"/", HOST, None, None, Waiting(), Collector(1000))
