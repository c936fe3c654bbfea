"""`expect` over a proxied call: whatever the call is doing, the client gets the armed answer and the peer is let go."""

from __future__ import annotations

import logging
from functools import partial

import pytest
import trio

from faasd_py.http.client import Pool
from faasd_py.http.server import Exchange

from .support import Script, Served, Wire, forward, poll, pooled, serve, upstream

SOON = 0.2
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def within(pool: Pool, exchange: Exchange) -> None:
    """The proxy with a deadline."""
    exchange.expect(SOON, 504, b"X-OpenFaaS-Internal: gateway\r\n", b"too late\n")
    await forward(pool, exchange)


async def silent(wire: Wire, _n: int) -> None:
    """Take everything, say nothing."""
    while await wire.more():
        pass


async def deaf(_wire: Wire, _n: int) -> None:
    """Read nothing."""
    await trio.sleep_forever()


async def half_head(wire: Wire, _n: int) -> None:
    """Begin a head."""
    await wire.until(b"\r\n\r\n")
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-")
    await wire.rest()


async def interim(wire: Wire, _n: int) -> None:
    """Only ever say that it goes on."""
    await wire.until(b"\r\n\r\n")
    await wire.send(b"HTTP/1.1 102 Processing\r\n\r\n")
    await wire.rest()


REQUESTS = {
    "no body": GET,
    "a body at hand": POST + b"Content-Length: 5\r\n\r\nhello",
    "half a body": POST + b"Content-Length: 10\r\n\r\nhello",
    "half a chunked body": POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "a body that waits for 100": POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
    "an upgrade": b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
}


async def too_late(served: Served, raw: bytes) -> None:
    """One request that gets its 504."""
    wire = await served.open()
    await wire.send(raw)
    with trio.fail_after(3):
        answer = await wire.final()
    assert (answer.status, answer.body, answer.closes) == (504, b"too late\n", True), raw
    assert answer.get(b"x-openfaas-internal") == b"gateway"
    await wire.stream.aclose()


@pytest.mark.parametrize("script", [silent, deaf, half_head, interim])
async def test_calls_that_take_too_long_are_answered(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    """All kinds at once: each one whole 504, the connection closed, the peer's too, and no traceback."""
    async with upstream(script) as peer, pooled(peer) as pool, serve(partial(within, pool)) as served:
        async with trio.open_nursery() as nursery:
            for raw in REQUESTS.values():
                nursery.start_soon(too_late, served, raw)
        await poll(
            lambda: (served.server.connections, served.server.exchanges, pool.idle) == (0, 0, 0),
            "all is let go",
        )
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


async def test_a_large_upload_that_takes_too_long_is_answered() -> None:
    """The client is still sending: it can read its 504 before the connection goes."""
    async with upstream(deaf) as peer, pooled(peer) as pool, serve(partial(within, pool)) as served:
        wire = await served.open()

        async def push() -> None:
            try:
                await wire.send(POST + b"Content-Length: 100000000\r\n\r\n")
                for _ in range(1000):
                    await wire.send(bytes(100_000))
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(push)
            with trio.fail_after(4):
                assert (await wire.answer()).status == 504
            nursery.cancel_scope.cancel()


async def test_an_answer_that_had_begun_is_broken_off_at_the_deadline() -> None:
    """Half an answer and then nothing: it ends visibly broken, and the peer is let go."""
    gone = trio.Event()

    async def half(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        assert not await wire.more()
        gone.set()

    async with upstream(half) as peer, pooled(peer) as pool, serve(partial(within, pool)) as served:
        wire = await served.open()
        await wire.send(GET)
        with pytest.raises(EOFError), trio.fail_after(3):
            await wire.answer()
        with trio.fail_after(2):
            await gone.wait()


async def test_a_tunnel_that_was_not_relaxed_ends_at_the_deadline() -> None:
    """The deadline is the whole exchange's: a handler that wants a tunnel to live on calls `relax`."""

    async def talk(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        await wire.rest()

    async with upstream(talk) as peer, pooled(peer) as pool, serve(partial(within, pool)) as served:
        wire = await served.open()
        await wire.send(REQUESTS["an upgrade"])
        await wire.until(b"\r\n\r\n")
        with trio.fail_after(3):
            assert await wire.rest() == b""
        await poll(lambda: served.server.connections == 0, "the tunnel is gone")
