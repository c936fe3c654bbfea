"""Stale connections and bytes out of turn: what may be sent again, and what is nobody's answer."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from faasd_py.http.errors import PeerClosed

from .peers import (
    CHATTER,
    OK,
    ask,
    reset,
    settle,
    until_gone,
)
from .support import Wire, pooled, upstream


async def test_a_connection_that_was_closed_while_idle_is_replaced() -> None:
    """The close is seen before a byte is sent: any method goes out on a new connection, once."""
    requests: list[bytes] = []

    async def once(wire: Wire, _n: int) -> None:
        requests.append(await wire.until(b"\r\n\r\n"))
        await wire.send(OK)

    async with upstream(once) as peer, pooled(peer) as pool:
        for n in range(1, 4):
            assert (await ask(pool, b"POST")).body == b"ok"
            await settle()
            assert (len(requests), peer.connections) == (n, n)


async def test_a_connection_that_was_reset_while_idle_is_replaced() -> None:
    """The same by a reset."""

    async def once(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(OK)
        await settle()
        reset(wire)

    async with upstream(once) as peer, pooled(peer) as pool:
        for n in range(1, 4):
            assert (await ask(pool, b"POST")).body == b"ok"
            await trio.sleep(0.05)
            assert peer.connections == n


@pytest.mark.parametrize("by_reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("method", [b"POST", b"GET", b"PUT"])
async def test_a_request_that_was_received_is_never_sent_twice(method: bytes, by_reset: bool) -> None:
    """The peer took it on a used connection and went away without a word: it may have acted, so it is PeerClosed."""
    requests: list[bytes] = []

    async def takes_and_leaves(wire: Wire, _n: int) -> None:
        requests.append(await wire.until(b"\r\n\r\n"))
        await wire.send(OK)
        requests.append(await wire.until(b"\r\n\r\n"))
        if by_reset:
            reset(wire)

    async with upstream(takes_and_leaves) as peer, pooled(peer) as pool:
        await ask(pool)
        with pytest.raises(PeerClosed) as caught:
            await ask(pool, method)
        assert not caught.value.began
        await settle()
        assert (len(requests), peer.connections) == (2, 1)


async def test_a_request_that_was_half_received_is_not_sent_twice() -> None:
    """Some bytes of a body were taken: a peer that acts while it reads may have acted."""
    taken: list[int] = []

    async def half(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(OK)
        await wire.until(b"\r\n\r\n")
        await wire.exactly(1000)
        taken.append(1)
        reset(wire)

    async with upstream(half) as peer, pooled(peer) as pool:
        await ask(pool)
        with pytest.raises(PeerClosed):
            await ask(pool, b"POST", bytes(8 << 20))
        await settle()
        assert (taken, peer.connections) == ([1], 1)


async def test_a_late_answer_is_not_the_next_ones() -> None:
    """A caller gave up; the answer that comes afterwards is not given to somebody else."""

    async def late(wire: Wire, n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            if n == 0:
                await trio.sleep(0.2)
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n)

    async with upstream(late) as peer, pooled(peer) as pool:
        with trio.move_on_after(0.05):
            await ask(pool)
        assert (await ask(pool)).body == b"1"
        await trio.sleep(0.25)
        assert (await ask(pool)).body != b"0"


@pytest.mark.parametrize("later", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("data", CHATTER.values(), ids=CHATTER)
async def test_bytes_out_of_turn_are_nobodys_answer(data: bytes, later: bool) -> None:
    """Response splitting: what a peer sends behind its answer, at once or while idle, never answers the next request."""
    cut = (
        len(data) - 1
        if data.endswith(b"x")
        else data.find(b"ok") + 2
        if b"ok" in data
        else data.find(b"\r\n\r\n") + 4
    )
    if b"chunked" in data:
        cut = data.index(b"0\r\n\r\n") + 5

    async def chatty(wire: Wire, n: int) -> None:
        await wire.until(b"\r\n\r\n")
        if n:
            await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
        elif later:
            await wire.send(data[:cut])
            await settle()
            await wire.send(data[cut:])
        else:
            await wire.send(data)
        await until_gone(wire)

    async with upstream(chatty) as peer, pooled(peer) as pool:
        first = await ask(pool)
        assert b"evil" not in first.body
        await trio.sleep(0.06)
        assert (await ask(pool)).body == b"good"
        assert peer.connections == 2


async def test_a_408_on_an_idle_connection_is_not_an_answer() -> None:
    """Servers say 408 and close an idle connection: the next request goes to a new one (RFC 9110 §15.5.9)."""

    async def impatient(wire: Wire, n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(OK)
        if n == 0:
            await settle()
            await wire.send(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        await until_gone(wire)

    async with upstream(impatient) as peer, pooled(peer) as pool:
        await ask(pool)
        await trio.sleep(0.06)
        assert (await ask(pool, b"POST")).status == 200
        assert peer.connections == 2
