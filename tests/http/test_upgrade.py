"""Upgrade: a tunnel when both sides agree, an ordinary request in every other case."""

from __future__ import annotations

import pytest
import trio

from faasd_py.http.server import Exchange

from .support import Recorder, Wire, poll, proxied, serve

WEBSOCKET = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"


async def shout(wire: Wire, _n: int) -> None:
    """Switch, then send everything back in capitals, and end when the other side has ended."""
    await wire.until(b"\r\n\r\n")
    await wire.send(SWITCH)
    while data := wire.take(len(wire.buffer)) or await wire.stream.receive_some(65536):
        await wire.send(data.upper())


async def switched(wire: Wire) -> bytes:
    """Ask for a tunnel and return the head of the 101."""
    await wire.send(WEBSOCKET)
    head = await wire.until(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101 ")
    return head.lower()


async def test_bytes_go_both_ways() -> None:
    """Raw, in any order, of any kind."""
    async with proxied(shout) as (served, peer):
        wire = await served.open()
        head = await switched(wire)
        assert b"upgrade: websocket\r\n" in head
        assert b"connection: upgrade\r\n" in head
        assert b"sec-websocket-accept: x\r\n" in head
        for data in (b"hello", b"GET / HTTP/1.1\r\n\r\n", b"\x00\xff" * 50_000):
            await wire.send(data)
            assert await wire.exactly(len(data)) == data.upper()
    sent = bytes(peer.wires[0].seen).lower()
    assert b"upgrade: websocket\r\n" in sent
    assert b"connection: upgrade\r\n" in sent


async def test_bytes_that_came_with_the_request_are_passed_on() -> None:
    """A client may speak before it has seen the 101; a peer may speak in the packet of it."""

    async def greets(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(SWITCH + b"welcome")
        await wire.send(await wire.exactly(5))
        await wire.rest()

    async with proxied(greets) as (served, _peer):
        wire = await served.open()
        await wire.send(WEBSOCKET + b"early")
        await wire.until(b"\r\n\r\n")
        assert await wire.exactly(12) == b"welcomeearly"


async def test_half_close_of_the_client_reaches_the_peer() -> None:
    """One direction ends, the other goes on until it ends too."""

    async def last_word(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(SWITCH)
        said = await wire.rest()
        await wire.send(b"you said " + said)

    async with proxied(last_word) as (served, _peer):
        wire = await served.open()
        await switched(wire)
        await wire.send(b"all")
        await wire.eof()
        assert await wire.rest() == b"you said all"


async def test_half_close_of_the_peer_reaches_the_client() -> None:
    """The same the other way round."""
    heard: list[bytes] = []

    async def done_first(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(SWITCH + b"bye")
        await wire.eof()
        heard.append(await wire.rest())

    async with proxied(done_first) as (served, _peer):
        wire = await served.open()
        await switched(wire)
        assert await wire.rest() == b"bye"
        await wire.send(b"still here")
        await wire.eof()
        await poll(lambda: heard == [b"still here"], "the peer hears it")


async def test_a_tunnel_ends_when_an_end_is_gone() -> None:
    """A reset on either side ends the other."""
    async with proxied(shout) as (served, peer):
        wire = await served.open()
        await switched(wire)
        await trio.aclose_forcefully(wire.stream)
        await poll(lambda: served.server.connections == 0, "the server forgets it")
    assert peer.connections == 1


async def test_a_large_tunnel_has_back_pressure_and_loses_nothing() -> None:
    """8 MiB there and back."""
    size = 8 << 20
    async with proxied(shout) as (served, _peer), trio.open_nursery() as nursery:
        wire = await served.open()
        await switched(wire)
        nursery.start_soon(wire.send, b"ab" * (size // 2))
        assert await wire.exactly(size) == b"AB" * (size // 2)


async def test_a_refused_upgrade_is_an_ordinary_answer() -> None:
    """The peer says 426 or 200: it is passed on, and the connection goes on as HTTP."""

    async def no(wire: Wire, _n: int) -> None:
        while True:
            await wire.until(b"\r\n\r\n")
            await wire.send(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno")

    async with proxied(no) as (served, _peer):
        wire = await served.open()
        for _ in range(2):
            await wire.send(WEBSOCKET)
            answer = await wire.answer()
            assert (answer.status, answer.body) == (426, b"no")
            if answer.closes:
                break


async def test_a_101_that_nobody_asked_for_is_a_bad_answer() -> None:
    """A peer cannot switch protocols by itself (RFC 9110 §15.2.2)."""
    async with proxied(shout) as (served, _peer):
        answer = await served.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == 502


NOT_AN_UPGRADE = {
    "Upgrade without Connection": b"Upgrade: websocket\r\n",
    "Connection without Upgrade": b"Connection: upgrade\r\n",
    "Connection names another": b"Connection: not-upgrade\r\nUpgrade: websocket\r\n",
    "empty": b"Connection: upgrade\r\nUpgrade: \r\n",
}


@pytest.mark.parametrize("lines", NOT_AN_UPGRADE.values(), ids=NOT_AN_UPGRADE)
async def test_half_an_upgrade_is_none(lines: bytes) -> None:
    """Both fields are needed; with one alone it is a plain request, and Upgrade goes no further (RFC 9110 §7.8)."""
    recorder = Recorder()
    async with serve(recorder) as served:
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await wire.answer()).status == 200
        assert (await wire.answer()).status == 200
    assert recorder.requests[0].upgrade == b""
    assert b"upgrade" not in recorder.requests[0].headers.lower()


async def test_an_upgrade_of_http10_is_ignored() -> None:
    """RFC 9110 §7.8: a server MUST ignore Upgrade in an HTTP/1.0 request."""
    recorder = Recorder()
    async with serve(recorder) as served:
        assert (await served.ask(WEBSOCKET.replace(b"HTTP/1.1", b"HTTP/1.0"))).status == 200
    assert recorder.requests[0].upgrade == b""


async def test_the_handler_sees_the_protocol_in_lower_case() -> None:
    """`upgrade` is b"websocket" however it was written."""
    recorder = Recorder()
    async with serve(recorder) as served:
        assert (
            await served.ask(WEBSOCKET.replace(b"Upgrade: websocket", b"UPGRADE: WebSocket"))
        ).status == 200
    assert recorder.requests[0].upgrade == b"websocket"


async def test_an_upgrade_request_with_a_body_keeps_its_body() -> None:
    """The body belongs to the request; what follows it is the next request unless a tunnel was opened."""
    recorder = Recorder()
    async with serve(recorder) as served:
        wire = await served.open()
        await wire.send(
            b"POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello"
            b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n"
        )
        first = await wire.answer()
        if first.status == 200:
            assert recorder.requests[0].body == b"hello"
            if not first.closes:
                assert (await wire.answer()).status == 200
    assert [seen.target for seen in recorder.requests] in ([b"/"], [b"/", b"/2"], [])


async def test_a_handler_tunnels_by_itself() -> None:
    """`tunnel(headers, wire)`: a Duplex of the handler's own, without any pool."""

    class Loop:
        """What is sent comes back."""

        def __init__(self) -> None:
            self.send_channel, self.receive_channel = trio.open_memory_channel[bytes](8)

        async def receive_some(self) -> bytes:
            async for data in self.receive_channel:
                return data
            return b""

        async def send_all(self, data: bytes) -> None:
            await self.send_channel.send(data)

        async def send_eof(self) -> None:
            self.send_channel.close()

    async def handler(exchange: Exchange) -> None:
        assert exchange.upgrade == b"websocket"
        await exchange.tunnel(b"Upgrade: websocket\r\n", Loop())

    async with serve(handler) as served:
        wire = await served.open()
        await switched(wire)
        await wire.send(b"round")
        assert await wire.exactly(5) == b"round"
        await wire.eof()
        assert await wire.rest() == b""
