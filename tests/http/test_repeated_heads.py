"""The same head again and again: it may be remembered, but must mean the same as if it were read anew."""

from __future__ import annotations

import pytest

from faasd_py.http.collect import Collector
from faasd_py.http.server import Exchange

from .peers import HOST
from .support import Recorder, Wire, limits, pooled, proxied, serve, upstream, whole

TIMES = 6
POST = b"POST /p HTTP/1.1\r\nHost: a\r\nX-Call-Id: 7\r\n"


@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_the_same_head_with_other_bodies(framing: str) -> None:
    """The body is never remembered, in one read or in two, whole or streamed."""
    recorder = Recorder()
    async with serve(recorder, fields=(b"x-call-id",)) as served:
        wire = await served.open()
        for n in range(TIMES):
            body = b"%07d" % n * 20_000
            if framing == "length":
                pieces = [POST + b"Content-Length: %d\r\n\r\n" % len(body), body]
            else:
                pieces = [
                    POST + b"Transfer-Encoding: chunked\r\n\r\n",
                    b"%x\r\n" % len(body) + body + b"\r\n0\r\n\r\n",
                ]
            await wire.send(*(pieces if n % 2 else [b"".join(pieces)]))
            assert (await wire.answer()).status == 200
            assert recorder.requests[-1].body == body
    assert len({(seen.headers, seen.host, seen.target, seen.length) for seen in recorder.requests}) == 1


async def test_what_a_handler_does_to_its_exchange_stays_there() -> None:
    """`extra`, `expect`, what was read and what was changed are of one exchange only."""
    seen: list[tuple[bytes, bool, int]] = []

    async def spoils(exchange: Exchange) -> None:
        seen.append((exchange.extra, exchange.timed_out, exchange.status))
        assert await whole(exchange) == b"hello"
        exchange.extra = b"X-A: %d\r\n" % len(seen)
        exchange.expect(5, 504, b"", b"")
        exchange.headers += b"X-Spoilt: 1\r\n"
        exchange.target = b"/spoilt"
        exchange.host = b"spoilt"
        await exchange.answer(200, b"", exchange.headers)

    async with serve(spoils) as served:
        wire = await served.open()
        for n in range(1, TIMES):
            await wire.send(POST + b"Content-Length: 5\r\n\r\nhello")
            answer = await wire.answer()
            assert answer.get(b"x-a") == b"%d" % n
            assert answer.body.count(b"X-Spoilt") == 1
    assert set(seen) == {(b"", False, 0)}


async def test_new_limits_hold_for_a_head_that_was_seen_before() -> None:
    """After `set_limits` a head that has become too large is refused on a connection where it was served."""
    head = b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 10 + b"\r\n"
    async with serve(Recorder()) as served:
        wire = await served.open()
        for _ in range(TIMES):
            await wire.send(head)
            assert (await wire.answer()).status == 200
        served.server.set_limits(limits(max_headers=5))
        await wire.send(head)
        assert (await wire.refused()).status == 431


async def test_connection_close_after_the_same_head() -> None:
    """Heads that differ in one byte are different heads: the last one says close."""
    async with serve(Recorder()) as served:
        wire = await served.open()
        keep = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close1\r\n\r\n"
        await wire.send(keep * TIMES + keep.replace(b"close1", b" close") + keep)
        for _ in range(TIMES):
            assert not (await wire.answer()).closes
        assert (await wire.answer()).closes
        assert await wire.closed()


async def test_expect_again_and_again() -> None:
    """Each request that waits for 100 gets its own."""
    async with serve(Recorder()) as served:
        wire = await served.open()
        for _ in range(TIMES):
            await wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
            assert (await wire.answer()).status == 100
            await wire.send(b"hello")
            assert (await wire.answer()).status == 200


async def test_the_same_answer_to_get_and_head() -> None:
    """Content-Length of an answer to HEAD announces nothing, of the same head to GET it does."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"

    async def script(wire: Wire, _n: int) -> None:
        while True:
            request = await wire.until(b"\r\n\r\n")
            await wire.send(head if request.startswith(b"HEAD") else head + b"hello")

    async with upstream(script) as peer, pooled(peer) as pool:
        for n in range(3 * TIMES):
            method = (b"GET", b"HEAD", b"GET", b"GET", b"HEAD")[n % 5]
            reply = Collector(1000)
            await pool.request(method, b"/", HOST, b"", 0, None, reply)
            assert (reply.body, reply.complete) == (b"" if method == b"HEAD" else b"hello", True)
        assert peer.connections == 1


async def test_the_same_answer_head_with_other_bodies() -> None:
    """Through the proxy: whole, in pieces, in chunks; the body is always the one that came."""
    count = 0

    async def script(wire: Wire, _n: int) -> None:
        nonlocal count
        while True:
            await wire.until(b"\r\n\r\n")
            count += 1
            body = b"%07d" % count * 10_000
            if count % 3 == 0:
                await wire.send(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(body),
                    body + b"\r\n0\r\n\r\n",
                )
            else:
                head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
                await wire.send(*([head + body] if count % 2 else [head, body]))

    async with proxied(script) as (served, peer):
        wire = await served.open()
        for n in range(1, 3 * TIMES):
            await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await wire.answer()).body == b"%07d" % n * 10_000
        assert peer.connections == 1


async def test_a_handlers_plan_is_for_the_same_head_only() -> None:
    """What a handler remembers is there when the very same head comes again, never for another, nor after new limits."""
    plans: list[object] = []

    async def planned(exchange: Exchange) -> None:
        plans.append(exchange.plan)
        exchange.remember(exchange.target)
        await exchange.answer(200, b"", b"")

    one, other = (b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % name for name in (b"one", b"other"))
    async with serve(planned) as served:
        wire = await served.open()
        for head in [one] * TIMES + [other] * TIMES + [one]:
            await wire.send(head)
            assert (await wire.answer()).status == 200
        assert plans[TIMES - 1] == b"/one"
        assert set(plans[:TIMES]) == {None, b"/one"}
        assert plans[TIMES] is None
        assert set(plans[TIMES : 2 * TIMES]) == {None, b"/other"}
        assert plans[2 * TIMES] is None
        plans.clear()
        for head in [one] * TIMES:
            await wire.send(head)
            await wire.answer()
        served.server.set_limits(limits())
        await wire.send(one)
        await wire.answer()
        assert plans[TIMES - 1] == b"/one"
        assert plans[TIMES] is None


async def test_a_plan_is_for_one_connection_only() -> None:
    """What follows from a head may follow from the client's address too: another connection works it out itself."""
    plans: list[object] = []

    async def planned(exchange: Exchange) -> None:
        plans.append(exchange.plan)
        exchange.remember(exchange.peer)
        await exchange.answer(200, b"", b"")

    async with serve(planned) as served:
        for _ in range(2):
            wire = await served.open()
            for _ in range(TIMES):
                await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                await wire.answer()
    assert plans[TIMES] is None
    assert plans[TIMES - 1] != plans[-1]
