"""Slow on purpose: heads that drip, bodies that stop, readers that do not read. Real sockets, short real limits."""

from __future__ import annotations

import pytest
import trio

from faasd_py.http.errors import ConnectionLost
from faasd_py.http.server import Exchange

from .support import PATIENCE, Recorder, Served, Wire, echo, limits, poll, serve, whole

SHORT = 0.2
LONGEST = 2.0
"""A limit of 0.2 s with a sweeper that looks every 0.25 s, on a machine that others share."""

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def drip(wire: Wire, data: bytes, pause: float) -> None:
    """A byte now and then, until the server has had enough."""
    try:
        for byte in data:
            await wire.send(bytes([byte]))
            await trio.sleep(pause)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def cut(served: Served, wire: Wire, allowed: tuple[bytes, ...]) -> bytes:
    """The server ends the connection soon, at most with an answer that begins with one of `allowed`."""
    with trio.fail_after(LONGEST):
        rest = await wire.rest()
    assert not rest or rest.startswith(allowed), rest
    await wire.stream.aclose()
    await poll(lambda: served.server.connections == 0, "the connection is forgotten")
    return rest


async def test_a_head_that_drips_is_cut() -> None:
    """Slowloris: each byte is progress, and still the whole head has one limit."""
    recorder = Recorder()
    async with serve(recorder, limits(head_timeout=SHORT)) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        nursery.start_soon(drip, wire, b"GET / HTTP/1.1\r\nX: " + b"a" * 1000, 0.02)
        await cut(served, wire, (b"HTTP/1.1 408 ",))
        nursery.cancel_scope.cancel()
    assert recorder.requests == []


async def test_a_head_that_stops_is_cut() -> None:
    """Half a head, then silence."""
    async with serve(Recorder(), limits(head_timeout=SHORT)) as served:
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.1\r\nHo")
        await cut(served, wire, (b"HTTP/1.1 408 ",))


async def test_a_second_head_that_drips_is_cut() -> None:
    """The limit holds for every request of a connection, and runs from its first byte."""
    async with serve(Recorder(), limits(head_timeout=SHORT)) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        await wire.send(GET)
        assert (await wire.answer()).status == 200
        nursery.start_soon(drip, wire, b"GET / HTTP/1.1\r\nX: " + b"a" * 1000, 0.02)
        await cut(served, wire, (b"HTTP/1.1 408 ",))
        nursery.cancel_scope.cancel()


async def test_empty_lines_are_no_progress() -> None:
    """CRLFs before a request line do not keep a connection for ever."""
    async with (
        serve(Recorder(), limits(head_timeout=SHORT, idle_timeout=SHORT)) as served,
        trio.open_nursery() as nursery,
    ):
        wire = await served.open()
        nursery.start_soon(drip, wire, b"\r\n" * 500, 0.02)
        await cut(served, wire, (b"HTTP/1.1 408 ", b"HTTP/1.1 400 "))
        nursery.cancel_scope.cancel()


async def test_a_connection_that_says_nothing_is_closed() -> None:
    """Connected and silent: closed without a word after the idle or head limit."""
    async with serve(Recorder(), limits(head_timeout=SHORT, idle_timeout=SHORT)) as served:
        wire = await served.open()
        await cut(served, wire, (b"HTTP/1.1 408 ",))


async def test_an_idle_connection_is_closed_without_a_word() -> None:
    """After an answer, silence ends the connection cleanly: no 408 that a client could take for its next answer."""
    async with serve(Recorder(), limits(idle_timeout=SHORT)) as served:
        wire = await served.open()
        await wire.send(GET)
        assert (await wire.answer()).status == 200
        assert await cut(served, wire, ()) == b""


async def test_a_busy_connection_is_not_idle() -> None:
    """The idle limit does not run while a handler works, nor the read limit while it does not read."""

    async def slow(exchange: Exchange) -> None:
        await trio.sleep(4 * SHORT)
        await exchange.answer(200, b"", b"done")

    bounds = limits(head_timeout=SHORT, idle_timeout=SHORT, read_timeout=SHORT, write_timeout=SHORT)
    async with serve(slow, bounds) as served:
        first, second = await served.open(), await served.open()
        await first.send(GET)
        await second.send(POST + b"Content-Length: 100\r\n\r\nhalf")
        assert (await first.answer()).body == b"done"
        assert (await second.answer()).body == b"done"


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100\r\n\r\nhalf", b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n"]
)
async def test_a_body_that_stops_is_cut(framing: bytes) -> None:
    """No byte for `read_timeout`: the handler that waits is told that the client is gone, the client gets 408 or a close."""
    lost: list[bool] = []

    async def collect(exchange: Exchange) -> None:
        try:
            await whole(exchange)
        except ConnectionLost:
            lost.append(True)
            raise

    async with serve(collect, limits(read_timeout=SHORT)) as served:
        wire = await served.open()
        await wire.send(POST + framing)
        await cut(served, wire, (b"HTTP/1.1 408 ",))
        assert served.server.exchanges == 0
    assert lost in ([True], [])


async def test_a_body_that_drips_is_progress() -> None:
    """`read_timeout` is about progress: a slow upload that moves may take longer than it in all."""
    async with serve(echo, limits(read_timeout=2 * SHORT)) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        await wire.send(POST + b"Content-Length: 40\r\n\r\n")
        nursery.start_soon(drip, wire, b"0123456789" * 4, 0.025)
        assert (await wire.answer()).body == b"0123456789" * 4


async def test_a_reader_that_does_not_read_is_cut() -> None:
    """A client that takes no byte of its answer for `write_timeout` loses the connection; the handler hears of it."""
    lost: list[bool] = []

    async def flood(exchange: Exchange) -> None:
        await exchange.start(200, b"", None)
        try:
            for _ in range(1000):
                await exchange.write(bytes(65536))
        except ConnectionLost:
            lost.append(True)
            raise

    async with serve(flood, limits(write_timeout=SHORT), sndbuf=65536) as served:
        wire = await served.open(rcvbuf=4096)
        await wire.send(GET)
        with trio.fail_after(LONGEST):
            await poll(lambda: served.server.connections == 0, "the slow reader is cut")
    assert lost in ([True], [])


async def test_a_reader_of_one_large_answer_is_cut() -> None:
    """The same for `answer`, one write for all of it."""

    async def large(exchange: Exchange) -> None:
        await exchange.answer(200, b"", bytes(8 << 20))

    async with serve(large, limits(write_timeout=SHORT), sndbuf=65536) as served:
        wire = await served.open(rcvbuf=4096)
        await wire.send(GET)
        await poll(lambda: served.server.connections == 0, "the slow reader is cut", LONGEST)


async def test_a_slow_reader_that_reads_is_progress() -> None:
    """Some bytes now and then keep the connection, however long the whole takes."""
    size = 2 << 20

    async def large(exchange: Exchange) -> None:
        await exchange.answer(200, b"", bytes(size))

    async with serve(large, limits(write_timeout=2 * SHORT), sndbuf=65536) as served:
        wire = await served.open(rcvbuf=65536)
        await wire.send(GET)
        await wire.until(b"\r\n\r\n")
        got = len(wire.buffer)
        while got < size:
            data = await wire.stream.receive_some(65536)
            assert data, "cut although it read"
            got += len(data)
            await trio.sleep(0.02)
    assert got == size


async def test_expect_answers_in_place_of_a_handler_that_takes_too_long() -> None:
    """`expect`: at the deadline the handler is cancelled, its armed answer is sent and the connection closed."""
    seen: list[bool] = []

    async def sleeper(exchange: Exchange) -> None:
        exchange.expect(SHORT, 504, b"X-OpenFaaS-Internal: gateway\r\n", b"too late\n")
        try:
            await trio.sleep(PATIENCE)
        finally:
            seen.append(exchange.timed_out)

    async with serve(sleeper) as served:
        wire = await served.open()
        await wire.send(GET + GET)
        with trio.fail_after(LONGEST):
            answer = await wire.refused()
    assert (answer.status, answer.body, answer.get(b"x-openfaas-internal")) == (
        504,
        b"too late\n",
        b"gateway",
    )
    assert seen == [True]


async def test_expect_breaks_off_an_answer_that_had_begun() -> None:
    """A late end cannot become a good one: the chunks have no last chunk."""

    async def endless(exchange: Exchange) -> None:
        exchange.expect(SHORT, 504, b"", b"too late\n")
        await exchange.start(200, b"", None)
        await exchange.write(b"some")
        await trio.sleep(PATIENCE)

    async with serve(endless) as served:
        wire = await served.open()
        await wire.send(GET)
        with trio.fail_after(LONGEST):
            rest = await wire.rest()
    assert rest.startswith(b"HTTP/1.1 200 ")
    assert rest.endswith(b"4\r\nsome\r\n")


async def test_expect_does_not_outlive_its_exchange() -> None:
    """A deadline that was armed for one request does not hit the next one of the connection, nor a relaxed one."""

    async def handler(exchange: Exchange) -> None:
        if exchange.target == b"/armed":
            exchange.expect(SHORT, 504, b"", b"")
        if exchange.target == b"/relaxed":
            exchange.expect(SHORT, 504, b"", b"")
            exchange.relax()
        if exchange.target != b"/armed":
            await trio.sleep(3 * SHORT)
        await exchange.answer(200, b"", b"")

    async with serve(handler) as served:
        wire = await served.open()
        for target in (b"/armed", b"/next", b"/relaxed"):
            await wire.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await wire.answer()).status == 200


async def test_a_client_that_goes_away_is_noticed_while_the_handler_writes() -> None:
    """ConnectionLost in `write` within a few writes after the reset."""
    lost = trio.Event()

    async def flood(exchange: Exchange) -> None:
        await exchange.start(200, b"", None)
        try:
            while True:
                await exchange.write(bytes(65536))
        except ConnectionLost:
            lost.set()
            raise

    async with serve(flood) as served:
        wire = await served.open()
        await wire.send(GET)
        await wire.until(b"\r\n\r\n")
        await wire.stream.aclose()
        with trio.fail_after(PATIENCE):
            await lost.wait()
        await poll(lambda: served.server.connections == 0, "the connection is forgotten")


async def test_a_client_that_goes_away_while_the_handler_reads() -> None:
    """ConnectionLost in `read`, by a reset and by a close."""
    lost: list[bool] = []

    async def collect(exchange: Exchange) -> None:
        try:
            await whole(exchange)
        except ConnectionLost:
            lost.append(True)
            raise

    async with serve(collect) as served:
        wire = await served.open()
        await wire.send(POST + b"Content-Length: 100\r\n\r\nhalf")
        await wire.stream.aclose()
        await poll(lambda: lost == [True], "the handler hears of it")


async def test_many_slow_clients_do_not_hold_up_a_quick_one() -> None:
    """Forty connections that drip, and a request between them is served at once."""
    async with serve(Recorder(), limits(max_connections=200)) as served, trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(drip, await served.open(), b"GET / HTTP/1.1\r\nX: " + b"a" * 500, 0.05)
        with trio.fail_after(LONGEST):
            assert (await served.ask(GET)).status == 200
        nursery.cancel_scope.cancel()
