"""Things that happen in the same moment, and costs that must not grow: found by reading, kept as tests."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import struct
import time
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme
from trio.testing import MockClock

from faasd_py.http.client import dial_tcp
from faasd_py.http.collect import Collector
from faasd_py.http.errors import PeerClosed, WireError
from faasd_py.http.server import Exchange, Server

from .support import Recorder, Wire, limits, listener, poll, pooled, proxied, serve, upstream, whole

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def at_the_same_moment(clock: MockClock, wire: Wire, data: bytes, seconds: float) -> None:
    """The bytes arrive and the time is over before any task of the server runs."""
    sock = wire.stream.socket  # type: ignore[attr-defined]
    assert socket.socket.send(sock._sock, data) == len(data)
    clock.jump(seconds)
    await trio.testing.wait_all_tasks_blocked()


async def test_a_request_in_the_moment_of_the_idle_cut_harms_nobody(mock_clock: MockClock) -> None:
    """A byte that comes exactly when the idle limit is over: that connection ends or is served; the server lives."""
    async with serve(Recorder(), limits(idle_timeout=5.0)) as served:
        for _ in range(12):
            wire = await served.open()
            await trio.testing.wait_all_tasks_blocked()
            await at_the_same_moment(mock_clock, wire, GET, 5.1)
        fresh = await served.open()
        await fresh.send(GET)
        assert (await fresh.answer()).status == 200


async def test_a_body_in_the_moment_of_the_read_cut_harms_nobody(mock_clock: MockClock) -> None:
    """The same in the middle of a body: the handler hears of a lost connection, if of anything."""
    other: list[BaseException] = []

    async def collect(exchange: Exchange) -> None:
        try:
            await whole(exchange)
        except WireError:
            raise
        except Exception as error:
            other.append(error)
            raise
        await exchange.answer(200, b"", b"")

    async with serve(collect, limits(read_timeout=5.0)) as served:
        for _ in range(12):
            wire = await served.open()
            await wire.send(POST + b"Content-Length: 10\r\n\r\nhalf")
            await trio.testing.wait_all_tasks_blocked()
            await at_the_same_moment(mock_clock, wire, b"more", 5.1)
        fresh = await served.open()
        await fresh.send(POST + b"Content-Length: 2\r\n\r\nok")
        assert (await fresh.answer()).status == 200
    assert other == []


async def test_a_dropped_body_in_the_moment_of_the_cut_harms_nobody(mock_clock: MockClock) -> None:
    """The handler answered without reading; the rest of the body is being dropped when the time is over."""

    async def hasty(exchange: Exchange) -> None:
        await exchange.answer(200, b"", b"")

    async with serve(hasty, limits(read_timeout=5.0)) as served:
        for _ in range(12):
            wire = await served.open()
            await wire.send(POST + b"Content-Length: 1000\r\n\r\nhalf")
            await trio.testing.wait_all_tasks_blocked()
            await at_the_same_moment(mock_clock, wire, b"more", 5.1)
        fresh = await served.open()
        await fresh.send(GET)
        assert (await fresh.answer()).status == 200


async def test_a_late_answer_that_does_not_fit_the_socket_is_sent_whole() -> None:
    """`expect` with an answer larger than the socket's buffer: a client that reads slowly still gets it, and the server lives."""

    async def sleeper(exchange: Exchange) -> None:
        exchange.expect(0.1, 504, b"", bytes(4 << 20))
        await trio.sleep_forever()

    async with serve(sleeper, sndbuf=65536) as served:
        wire = await served.open(rcvbuf=65536)
        await wire.send(GET)
        assert len((await wire.answer()).body) == 4 << 20
        assert await wire.closed()
        again = await served.open()
        await again.send(GET)
        assert (await again.until(b"\r\n")).startswith(b"HTTP/1.1 504 ")


async def test_a_flood_of_empty_lines_costs_little() -> None:
    """Four megabytes of CRLF are refused soon, or skipped at little cost; others are served."""
    async with serve(Recorder()) as served:
        wire = await served.open()
        began = time.thread_time()
        try:
            for _ in range(64):
                await wire.send(b"\r\n" * 32768)
        except trio.BrokenResourceError:
            pass
        assert time.thread_time() - began < 0.4
        assert (await served.ask(GET)).status == 200


async def test_a_head_that_comes_byte_by_byte_costs_little() -> None:
    """Sixteen thousand single bytes of a head do not cost the square of it."""
    async with serve(Recorder(), limits(max_head=65536)) as served:
        wire = await served.open()
        sock = wire.stream.socket  # type: ignore[attr-defined]
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        began = time.thread_time()
        for _ in range(4000):
            await sock.send(b"aaaaaaaaaa")
            await trio.lowlevel.checkpoint()
        await wire.send(b"\r\n\r\n")
        assert (await wire.answer()).status == 200
        assert time.thread_time() - began < 1.5


async def test_many_tiny_chunks_cost_little() -> None:
    """200 000 chunks of one byte are read in the time that a megabyte of them is worth."""
    raw = b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n"
    recorder = Recorder()
    async with serve(recorder) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        began = time.thread_time()
        nursery.start_soon(wire.send, POST + b"Transfer-Encoding: chunked\r\n\r\n" + raw)
        assert (await wire.answer()).status == 200
        assert time.thread_time() - began < 2.0
    assert recorder.requests[0].body == b"x" * 200_000


async def test_modest_extensions_of_a_long_body_are_put_up_with() -> None:
    """A signed upload has some 85 bytes of extension on each 64 KiB chunk: their sum is no attack."""
    size = 0

    async def count(exchange: Exchange) -> None:
        nonlocal size
        while piece := await exchange.read():
            size += len(piece)
        await exchange.answer(200, b"", b"")

    async with serve(count) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        piece = b"10000;chunk-signature=" + b"a" * 64 + b"\r\n" + bytes(65536) + b"\r\n"
        nursery.start_soon(wire.send, POST + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 400 + b"0\r\n\r\n")
        assert (await wire.answer()).status == 200
    assert size == 400 * 65536


@pytest.mark.parametrize("status", [b"299", b"418", b"599", b"600", b"999"])
async def test_any_status_of_a_peer_is_passed_on_or_502(status: bytes) -> None:
    """A status that nobody registered is the peer's own matter (RFC 9110 §15); our end never fails by it."""

    async def odd(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 " + status + b" Odd\r\nContent-Length: 2\r\n\r\nok")
        await wire.rest()

    async with proxied(odd) as (served, _peer):
        wire = await served.open()
        await wire.send(GET)
        got = (await wire.until(b"\r\n"))[9:12]
        assert got in ({status} if status < b"600" else {status, b"502"})


async def test_records_behind_an_answer_are_nobodys_answer() -> None:
    """TLS: a second answer in a record of its own, in the same packet, is not taken for the answer to the next request."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("fn.test").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    (door,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    connections: list[int] = []

    async def handle(stream: trio.SocketStream) -> None:
        connections.append(1)
        secure = Sewn(stream)
        tls = trio.SSLStream(secure, server, server_side=True, https_compatible=True)
        try:
            await tls.receive_some()
            secure.held = b""
            await tls.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
            await tls.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await secure.release()
            await tls.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [door])
        dial = dial_tcp("127.0.0.1", door.socket.getsockname()[1], 2.0)
        async with pooled(dial, tls=client, server_name="fn.test") as pool:
            for _ in range(2):
                reply = Collector(1000)
                await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, reply)
                assert reply.body == b"good"
        nursery.cancel_scope.cancel()


class Sewn(trio.abc.Stream):
    """A stream that holds back what is sent, so that several records leave in one packet."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.held: bytes | None = None

    async def send_all(self, data: bytes) -> None:
        if self.held is None:
            await self.stream.send_all(data)
        else:
            self.held += data
            await trio.lowlevel.checkpoint()

    async def release(self) -> None:
        held, self.held = self.held, None
        await self.stream.send_all(held or b"")

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_a_cancelled_read_leaves_no_deadline_behind() -> None:
    """A handler that stops waiting for the body is not cut later for what it no longer waits for."""

    async def impatient(exchange: Exchange) -> None:
        with trio.move_on_after(0.05):
            await exchange.read()
        await trio.sleep(0.8)
        await exchange.answer(200, b"", b"done")

    async with serve(impatient, limits(read_timeout=0.2)) as served:
        wire = await served.open()
        await wire.send(POST + b"Content-Length: 10\r\n\r\n")
        answer = await wire.answer()
    assert (answer.status, answer.body) == (200, b"done")


async def test_a_slow_upload_that_moves_is_not_the_peers_silence() -> None:
    """`read_timeout` of a pool does not run while the request is still on its way: the peer has nothing to answer yet."""

    async def patient(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.exactly(10)
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with proxied(patient, read_timeout=0.2) as (served, _peer):
        wire = await served.open()
        await wire.send(POST + b"Content-Length: 10\r\n\r\n")
        for _ in range(10):
            await wire.send(b"x")
            await trio.sleep(0.08)
        answer = await wire.answer()
    assert (answer.status, answer.body) == (200, b"ok")


async def test_an_echo_of_a_large_body_at_hand_does_not_deadlock() -> None:
    """A body given whole is sent while the answer is read, too: neither end waits for the other to read."""
    size = 16 << 20

    async def echo_at_once(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        left = size
        while left:
            data = wire.take(len(wire.buffer)) or await wire.stream.receive_some(65536)
            left -= len(data)
            await wire.send(data)

    async with upstream(echo_at_once) as peer, pooled(peer, read_timeout=2.0, write_timeout=2.0) as pool:
        reply = Collector(size)
        lines = b"Host: a\r\nContent-Length: %d\r\n" % size
        await pool.request(b"POST", b"/", lines, bytes(size), size, None, reply)
    assert (reply.size, reply.complete) == (size, True)


async def test_running_out_of_file_descriptors_passes() -> None:
    """EMFILE while accepting: those who wait are served when there are descriptors again; the server neither ends nor spins."""
    async with serve(Recorder()) as served:
        socks = [trio.socket.socket() for _ in range(5)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            fillers = fill()
            for sock in socks:
                await sock.connect(("127.0.0.1", served.port))
            began = time.thread_time()
            await trio.sleep(0.3)
            assert time.thread_time() - began < 0.1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in fillers:
                os.close(fd)
        for sock in socks:
            wire = Wire(trio.SocketStream(sock))
            await wire.send(GET)
            assert (await wire.answer()).status == 200
            await wire.stream.aclose()


def fill() -> list[int]:
    """Take every descriptor that is left."""
    fds: list[int] = []
    try:
        while True:
            fds.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return fds


@pytest.mark.parametrize("secure", [False, True])
async def test_clients_that_reset_before_they_are_accepted(secure: bool) -> None:
    """A connection that is dead when it is accepted is dropped."""
    context = None
    if secure:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serve(Recorder(), tls=context) as served:
        for _ in range(30):
            sock = socket.socket()
            sock.connect(("127.0.0.1", served.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        await poll(lambda: served.server.connections == 0, "all are forgotten")
        if not secure:
            assert (await served.ask(GET)).status == 200


async def test_a_cancelled_read_loses_no_byte() -> None:
    """Cancelled or not, a piece that was taken from the socket reaches the handler: else what follows is read as body."""
    size, got = 4 << 20, bytearray()

    async def impatient(exchange: Exchange) -> None:
        while len(got) < size:
            with trio.CancelScope() as scope:
                scope.cancel()
                got.extend(await exchange.read())
            with trio.move_on_after(1):
                await trio.lowlevel.wait_readable(exchange.connection.wire.fd)
                continue
            break
        await exchange.answer(200, b"", b"%d" % len(got))

    async with serve(impatient) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        body = b"".join(b"%07d\n" % n for n in range(size // 8))
        nursery.start_soon(wire.send, POST + b"Content-Length: %d\r\n\r\n" % size + body)
        assert (await wire.answer()).body == b"%d" % size
    assert got == body


async def test_a_cancelled_write_breaks_the_answer_off() -> None:
    """A handler that gives up in the middle of a write and goes on cannot shift the framing of what follows."""

    async def impatient(exchange: Exchange) -> None:
        await exchange.start(200, b"", None)
        with trio.move_on_after(0.1):
            await exchange.write(bytes(8 << 20))
        await exchange.write(b"\r\nHTTP/1.1 200 OK\r\n")
        await exchange.end()

    async with serve(impatient, sndbuf=65536) as served:
        wire = await served.open(rcvbuf=65536)
        await wire.send(GET + GET)
        await trio.sleep(0.2)
        rest = await wire.rest()
    assert not rest.endswith(b"0\r\n\r\n")


async def test_each_door_opens_again_when_there_is_room() -> None:
    """Two doors, both waiting for room: neither misses that a connection ended."""
    server, doors = Server(Recorder(), limits(max_connections=1)), [listener(), listener()]

    async def visit(door: socket.socket) -> Wire:
        wire = Wire(await trio.open_tcp_stream("127.0.0.1", door.getsockname()[1]))
        await wire.send(GET)
        return wire

    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, doors))
        first = await visit(doors[0])
        assert (await first.answer()).status == 200
        waiting = [await visit(doors[0]), await visit(doors[1])]
        await trio.testing.wait_all_tasks_blocked(0.02)
        await first.stream.aclose()
        answered = 0
        with trio.move_on_after(3):
            async with trio.open_nursery() as clients:

                async def finish(wire: Wire) -> None:
                    nonlocal answered
                    assert (await wire.answer()).status == 200
                    answered += 1
                    await wire.stream.aclose()

                for wire in waiting:
                    clients.start_soon(finish, wire)
        for wire in waiting:
            await trio.aclose_forcefully(wire.stream)
        nursery.cancel_scope.cancel()
    assert answered == 2


async def test_an_answer_until_close_that_tls_cut_is_not_whole() -> None:
    """Without close_notify, an answer that ends with the connection may have been cut by anybody (RFC 9112 §9.8)."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("fn.test").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)

    async def cut(wire: Wire, n: int) -> None:
        tls = trio.SSLStream(wire.stream, server, server_side=True)  # its aclose says close_notify
        await tls.receive_some()
        await tls.send_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        if n == 1:
            await tls.aclose()

    async with upstream(cut) as peer, pooled(peer, tls=client, server_name="fn.test") as pool:
        reply = Collector(1000)
        with pytest.raises(PeerClosed):
            await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, reply)
        assert not reply.complete
        whole_one = Collector(1000)
        await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, whole_one)
        assert (whole_one.body, whole_one.complete) == (b"half", True)
