"""Several requests in one read, in order, whatever the handlers do."""

from __future__ import annotations

import trio

from faasd_py.http.server import Exchange

from .support import Recorder, echo, serve, whole


def get(target: bytes, more: bytes = b"") -> bytes:
    return b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + more + b"\r\n"


async def by_target(exchange: Exchange) -> None:
    """Answers that take different times and shapes."""
    body = await whole(exchange)
    if exchange.target.startswith(b"/slow"):
        await trio.sleep(0.02)
    if exchange.target.startswith(b"/chunked"):
        await exchange.start(200, b"", None)
        await exchange.write(exchange.target)
        await exchange.write(body or b"-")
        await exchange.end()
    else:
        await exchange.answer(200, b"", exchange.target + (body or b"-"))


async def test_answers_come_in_the_order_of_requests() -> None:
    """RFC 9112 §9.3.2: the slow first one is answered first."""
    targets = [b"/slow", b"/1", b"/chunked", b"/slow2", b"/chunked-slow", b"/last"]
    async with serve(by_target) as served:
        wire = await served.open()
        await wire.send(b"".join(get(target) for target in targets))
        for target in targets:
            assert (await wire.answer()).body == target + b"-"


async def test_bodies_between_requests_keep_their_borders() -> None:
    """Lengths, chunks and none, mixed, in one send."""
    raw = (
        b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
        + get(b"/2")
        + b"POST /3 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ndef\r\n0\r\nX-T: 1\r\n\r\n"
        + get(b"/4")
        + b"POST /5 HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
        + b"\r\n"
        + get(b"/6")
    )
    async with serve(by_target) as served:
        wire = await served.open()
        await wire.send(raw)
        got = [(await wire.answer()).body for _ in range(6)]
    assert got == [b"/1abc", b"/2-", b"/3def", b"/4-", b"/5-", b"/6-"]


async def test_two_thousand_requests_in_one_go() -> None:
    """Deep pipelining neither loses one nor recurses."""
    recorder = Recorder()
    async with serve(recorder) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        nursery.start_soon(wire.send, get(b"/x") * 2000)
        for n in range(2000):
            assert (await wire.answer()).body == b"%d" % (n + 1)


async def test_the_same_request_byte_by_byte() -> None:
    """One byte a send, two requests."""
    raw = (
        get(b"/1") + b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n"
    )
    async with serve(by_target) as served:
        wire = await served.open()
        for byte in raw:
            await wire.send(bytes([byte]))
        assert [(await wire.answer()).body for _ in range(2)] == [b"/1-", b"/2ab"]


async def test_connection_close_ends_the_pipeline() -> None:
    """What is behind a request with Connection: close is not served (RFC 9112 §9.6)."""
    recorder = Recorder()
    async with serve(recorder) as served:
        wire = await served.open()
        await wire.send(get(b"/1") + get(b"/2", b"Connection: Close\r\n") + get(b"/3"))
        assert not (await wire.answer()).closes
        assert (await wire.answer()).closes
        assert await wire.closed()
    assert [seen.target for seen in recorder.requests] == [b"/1", b"/2"]


async def test_close_among_other_options() -> None:
    """Connection is a list; `close` counts anywhere in it and in any line of it, and only as a whole word."""
    async with serve(Recorder()) as served:
        for lines, closes in (
            (b"Connection: keep-alive, close\r\n", True),
            (b"Connection: foo\r\nConnection: close\r\n", True),
            (b"Connection: not-close\r\n", False),
            (b"X-Connection: close\r\n", False),
        ):
            wire = await served.open()
            await wire.send(get(b"/1", lines))
            assert (await wire.answer()).closes is closes, lines
            if closes:
                assert await wire.closed()


async def test_half_close_after_the_last_request() -> None:
    """A client that has said all may still hear all (RFC 9112 §9.6)."""
    async with serve(by_target) as served:
        wire = await served.open()
        await wire.send(get(b"/slow") + get(b"/chunked"))
        await wire.eof()
        assert [(await wire.answer()).body for _ in range(2)] == [b"/slow-", b"/chunked-"]
        assert await wire.closed()


async def test_half_close_with_a_streamed_body() -> None:
    """The echo of a body is complete although the client's side is closed."""
    async with serve(echo) as served:
        wire = await served.open()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n")
        async with trio.open_nursery() as nursery:

            async def push() -> None:
                await wire.send(b"x" * 300_000)
                await wire.eof()

            nursery.start_soon(push)
            assert (await wire.answer()).body == b"x" * 300_000


async def test_a_pipelined_request_waits_while_a_body_is_echoed() -> None:
    """Bytes of the next request that came with the end of a body are kept."""
    async with serve(echo) as served:
        wire = await served.open()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n" + b"x" * 1000)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wire.send, b"x" * 199_000 + get(b"/next"))
            assert len((await wire.answer()).body) == 200_000
        assert (await wire.answer()).status == 200


async def test_many_connections_at_once_do_not_mix() -> None:
    """Thirty clients, twenty requests each, each gets its own answers."""
    async with serve(by_target) as served, trio.open_nursery() as nursery:

        async def client(name: int) -> None:
            wire = await served.open()
            for n in range(20):
                target = b"/%d-%d" % (name, n)
                await wire.send(get(target))
                assert (await wire.answer()).body == target + b"-"

        for name in range(30):
            nursery.start_soon(client, name)
