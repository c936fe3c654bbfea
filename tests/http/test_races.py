"""Things that happen in the same moment, and costs that must not grow: found by reading, kept as tests."""

from __future__ import annotations

import socket
from functools import partial

import pytest
import trio
from trio.testing import MockClock

from faasd_py.http.collect import Collector
from faasd_py.http.errors import WireError
from faasd_py.http.server import Exchange, Server

from .support import LOOPBACK, Recorder, Wire, limits, listener, pooled, proxied, serve, upstream, whole

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
    server, doors = Server(Recorder(), limits(max_connections=1)), [listener(LOOPBACK), listener(LOOPBACK)]

    async def visit(door: socket.socket) -> Wire:
        wire = Wire(await trio.open_tcp_stream(LOOPBACK, door.getsockname()[1]))
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
