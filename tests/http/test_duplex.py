"""Both directions at once: answers that begin before the request has ended, on the server and through the pool."""

from __future__ import annotations

from contextlib import suppress

import trio

from faasd_py.http.server import Exchange

from .support import Wire, proxied, serve

HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def ping_pong(wire: Wire, turns: int) -> None:
    """A piece goes up only after the one before came back."""
    await wire.send(HEAD)
    await wire.send(b"1\r\n0\r\n")
    await wire.until(b"\r\n\r\n")
    for n in range(1, turns):
        assert await wire.chunk() == b"%d" % (n - 1)
        await wire.send(b"%x\r\n%d\r\n" % (len(b"%d" % n), n))
    assert await wire.chunk() == b"%d" % (turns - 1)
    await wire.send(b"0\r\n\r\n")
    assert await wire.chunk() == b""


async def echo_by_piece(exchange: Exchange) -> None:
    await exchange.start(200, b"", None)
    while piece := await exchange.read():
        await exchange.write(piece)
    await exchange.end()


async def peer_echo(wire: Wire, _n: int) -> None:
    """Answer at once, then send each chunk back as it comes; serves several requests."""
    while True:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while piece := await wire.chunk():
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await wire.send(b"0\r\n\r\n")


async def test_ping_pong_with_a_handler() -> None:
    """The server reads and writes one exchange at once."""
    async with serve(echo_by_piece) as served:
        await ping_pong(await served.open(), 50)


async def test_ping_pong_through_the_proxy() -> None:
    """A conversation inside one request and one answer crosses the pool; the connection is used again after it."""
    async with proxied(peer_echo) as (served, peer):
        wire = await served.open()
        for _ in range(3):
            await ping_pong(wire, 30)
    assert peer.connections == 1


async def test_an_early_answer_reaches_the_client_while_it_sends() -> None:
    """A peer that refuses after the head is heard at once, not after the body; the peer's connection is not used again."""

    async def refuse(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno")
        while await wire.more():
            pass

    async with proxied(refuse) as (served, _peer):
        wire = await served.open()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 1000)
        answer = await wire.answer()
        assert (answer.status, answer.body) == (401, b"no")


async def test_an_early_answer_and_close_is_an_answer() -> None:
    """The peer answers 413 and closes while the request is still going out: the client gets the 413, not a 502."""

    async def refuse(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(
            b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nbig"
        )
        await wire.stream.send_eof()
        while await wire.more():
            pass

    async with proxied(refuse) as (served, _peer):
        wire = await served.open()
        async with trio.open_nursery() as nursery:

            async def upload() -> None:
                try:
                    await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 20000000\r\n\r\n")
                    for _ in range(200):
                        await wire.send(bytes(100_000))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass

            nursery.start_soon(upload)
            answer = await wire.answer()
            nursery.cancel_scope.cancel()
    assert (answer.status, answer.body) == (413, b"big")


async def test_the_next_request_is_not_disturbed_by_an_early_answer() -> None:
    """After an early answer the rest of the upload never reaches a peer as a new request."""
    heads: list[bytes] = []

    async def refuse(wire: Wire, _n: int) -> None:
        while True:
            heads.append(await wire.until(b"\r\n\r\n"))
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    evil = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
    async with proxied(refuse) as (served, _peer):
        wire = await served.open()
        await wire.send(b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n")
        first = await wire.answer()
        assert first.status == 200
        with suppress(trio.BrokenResourceError):
            await wire.send(bytes(1_000_000 - len(evil)) + evil)
        assert (await served.ask(b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
    assert [head.split()[1] for head in heads if head.startswith(b"GET")] == [b"/2"]


async def test_the_client_going_away_ends_the_peers_connection() -> None:
    """A half request is broken off upstream at once, so that nobody waits for its end."""
    gone = trio.Event()

    async def waiting(wire: Wire, _n: int) -> None:
        while await wire.more():
            pass
        gone.set()

    async with proxied(waiting) as (served, _peer):
        wire = await served.open()
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\nhalf")
        await trio.testing.wait_all_tasks_blocked(0.02)
        await wire.stream.aclose()
        with trio.fail_after(5):
            await gone.wait()


async def test_the_peer_ending_while_the_client_still_sends() -> None:
    """A complete answer ends the exchange even if the client never ends its body; nothing hangs."""

    async def short(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        while await wire.more():
            pass

    async with proxied(short) as (served, _peer):
        wire = await served.open()
        await wire.send(HEAD + b"1\r\nx\r\n")
        assert (await wire.answer()).body == b"abc"
