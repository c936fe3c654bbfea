"""The pool's everyday: which connection is used, kept, closed; what goes out in one send."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from faasd_py.http.client import Pool, dial_unix
from faasd_py.http.collect import Collector
from faasd_py.http.errors import ConnectFailed

from .support import Upstream, Wire, pooled, upstream

HOST = b"Host: a\r\n"


async def numbered(wire: Wire, n: int) -> None:
    """Answer every request with the number of the connection it came on."""
    while True:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n%d" % n)


async def ask(pool: Pool) -> bytes:
    """The body of a plain GET."""
    reply = Collector(1000)
    await pool.request(b"GET", b"/", HOST, b"", 0, None, reply)
    assert reply.complete
    return reply.body


async def together(pool: Pool, count: int) -> list[bytes]:
    """The answers to so many requests at once."""
    bodies: list[bytes] = []

    async def one() -> None:
        bodies.append(await ask(pool))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(one)
    return sorted(bodies)


async def test_one_after_the_other_uses_one_connection() -> None:
    """Keep-alive."""
    async with upstream(numbered) as peer, pooled(peer) as pool:
        assert [await ask(pool) for _ in range(5)] == [b"0"] * 5
    assert peer.connections == 1


async def test_the_connection_used_last_is_used_next() -> None:
    """So that those that are not needed grow old and close."""
    async with upstream(numbered) as peer, pooled(peer) as pool:
        assert await together(pool, 3) == [b"0", b"1", b"2"]
        assert pool.idle == 3
        assert len({await ask(pool) for _ in range(10)}) == 1


async def test_no_more_than_max_idle_are_kept() -> None:
    """The others close when they are done."""
    async with upstream(numbered) as peer, pooled(peer, max_idle=2) as pool:
        await together(pool, 5)
        assert pool.idle == 2


async def test_close_idle_closes_what_waits() -> None:
    """The next request makes a connection of its own."""
    async with upstream(numbered) as peer, pooled(peer) as pool:
        await together(pool, 2)
        pool.close_idle()
        assert pool.idle == 0
        assert await ask(pool) == b"2"


async def test_a_connection_that_was_idle_too_long_is_not_used(mock_clock: MockClock) -> None:
    """The peer may be about to close it: then nobody could tell whether a request was acted on."""
    async with upstream(numbered) as peer, pooled(peer, idle_timeout=5.0, read_timeout=None) as pool:
        assert await ask(pool) == b"0"
        mock_clock.jump(4)
        assert await ask(pool) == b"0"
        mock_clock.jump(5.5)
        assert await ask(pool) == b"1"
        assert pool.idle == 1


async def test_a_small_request_goes_out_in_one_send() -> None:
    """Head and body are one segment: a peer that reads once has it all."""
    seen: list[bytes] = []

    async def once(wire: Wire, _n: int) -> None:
        await wire.more()
        seen.append(bytes(wire.seen))
        await wire.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with upstream(once) as peer, pooled(peer) as pool:
        reply = Collector(10)
        await pool.request(b"POST", b"/x?y", HOST + b"Content-Length: 128\r\n", bytes(128), 128, None, reply)
    assert seen == [b"POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 128\r\n\r\n" + bytes(128)]
    assert (reply.status, reply.complete) == (204, True)


async def test_the_same_head_again_is_an_answer_of_its_own() -> None:
    """What a connection remembers of an answer's head never carries over a body."""

    async def counting(wire: Wire, _n: int) -> None:
        for count in range(4):
            await wire.until(b"\r\n\r\n")
            length = b"1" if count != 2 else b"2"
            await wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: " + length + b"\r\n\r\n" + b"%d" % count * int(length)
            )

    async with upstream(counting) as peer, pooled(peer) as pool:
        assert [await ask(pool) for _ in range(4)] == [b"0", b"1", b"22", b"3"]


async def test_a_reused_head_is_not_taken_for_an_answer_to_head() -> None:
    """GET, HEAD, GET on one connection: the same bytes mean a body, none, and a body."""

    async def sized(wire: Wire, _n: int) -> None:
        while True:
            head = await wire.until(b"\r\n\r\n")
            await wire.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n" + b"ok" * (not head.startswith(b"HEAD"))
            )

    async with upstream(sized) as peer, pooled(peer) as pool:
        for method, body in ((b"GET", b"ok"), (b"HEAD", b""), (b"GET", b"ok")):
            reply = Collector(10)
            await pool.request(method, b"/", HOST, b"", 0, None, reply)
            assert (reply.body, b"Content-Length: 2\r\n" in reply.headers) == (body, True)
        assert peer.connections == 1


async def test_a_missing_unix_socket_is_connect_failed(tmp_path: object) -> None:
    """Nothing was sent: the text names the path."""
    pool = Pool(dial_unix(f"{tmp_path}/none", 1.0))
    with pytest.raises(ConnectFailed, match="none"):
        await ask(pool)


async def test_upstreams_of_two_pools_are_their_own(autojump_clock: MockClock) -> None:
    """A pool belongs to one peer."""
    async with upstream(numbered) as one, upstream(numbered) as two:
        assert await both(one, two) == [b"0", b"0"]
        assert (one.connections, two.connections) == (1, 1)


async def both(one: Upstream, two: Upstream) -> list[bytes]:
    """Ask each."""
    async with pooled(one) as first, pooled(two) as second:
        return [await ask(first), await ask(second)]
