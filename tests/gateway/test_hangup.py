"""A client who goes from a silent answer is noticed; nobody else is disturbed."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from faasd_py.gateway import hangup
from faasd_py.gateway.hangup import Hangups
from faasd_py.http.exchange import Exchange
from faasd_py.http.limits import Limits
from faasd_py.http.server import Server

LIMITS = Limits(
    max_connections=100, max_head=65536, max_headers=100, head_timeout=30.0, idle_timeout=30.0, read_timeout=30.0, write_timeout=30.0,
)  # fmt: skip


class Site:
    """A server whose handler waits to be let go on, after `start` when the target says so."""

    def __init__(self) -> None:
        self.hangups = Hangups()
        self.go_on = trio.Event()
        self.over: list[str] = []
        self.running = 0
        self.failure: OSError | None = None

    async def handle(self, exchange: Exchange) -> None:
        """As the control plane's requests are handled."""
        self.running += 1
        try:
            with self.hangups.while_there(exchange):
                await self._answer(exchange)
                self.over.append("answered")
        except OSError as error:
            await exchange.answer(500, b"", str(error).encode())
        finally:
            self.running -= 1
            if not exchange.done:
                self.over.append("cut")

    async def _answer(self, exchange: Exchange) -> None:
        if self.failure is not None:
            raise self.failure
        if exchange.target.startswith(b"/stream"):
            await exchange.start(200, b"", None)
            await exchange.write(b"hello")
            await self.go_on.wait()
            await exchange.end()
        elif exchange.target.startswith(b"/sized"):
            await exchange.start(200, b"Content-Length: 5\r\n", 5)
            await self.go_on.wait()
            await exchange.write(b"hello")
            await exchange.end()
        else:
            await self.go_on.wait()
            await exchange.answer(200, b"", b"hello")


@asynccontextmanager
async def served(where: Path | None = None) -> AsyncIterator[tuple[Site, trio.SocketStream]]:
    """A site on loopback or on a unix socket, and a client of it who has asked nothing yet."""
    site = Site()
    with _listening(where) as listener:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(site.hangups.run)
            await nursery.start(Server(site.handle, LIMITS).run, [listener])
            client = trio.socket.socket(listener.family)
            await client.connect(str(where) if where else listener.getsockname())
            async with trio.SocketStream(client) as stream:
                yield site, stream
            nursery.cancel_scope.cancel()


def _listening(where: Path | None) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX if where else socket.AF_INET)
    listener.bind(str(where) if where else ("127.0.0.1", 0))
    listener.listen()
    return listener


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hangup, "EVERY", 0.01)


async def ask(stream: trio.SocketStream, target: str) -> None:
    """A request."""
    await stream.send_all(f"GET {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode())


async def poll(condition) -> None:
    """Until it holds, with patience."""
    with trio.fail_after(30):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.005)


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("target", ["/stream", "/calls?wait=10m"])
async def test_a_client_who_goes_is_noticed_in_silence(tmp_path: Path, kind: str, target: str) -> None:
    """Whether it was waiting for the next bytes or for the first."""
    async with served(tmp_path / "s" if kind == "unix" else None) as (site, stream):
        await ask(stream, target)
        await poll(lambda: site.running)
        await stream.aclose()
        await poll(lambda: not site.running)
        assert site.over == ["cut"]


@pytest.mark.parametrize("target", ["/sized", "/whole"])
async def test_a_half_closed_client_gets_the_answer_it_asked_for(target: str) -> None:
    """It has said all it wanted to; an answer that will end is given in full."""
    async with served() as (site, stream):
        await ask(stream, target)
        await poll(lambda: site.running)
        await stream.send_eof()
        await trio.sleep(0.1)  # ten looks
        site.go_on.set()
        with trio.fail_after(30):
            data = b"".join([piece async for piece in stream])
        assert data.endswith(b"hello")
        assert site.over == ["answered"]


async def test_a_client_who_stays_is_left_alone() -> None:
    """Silent or not; what it sends meanwhile is its next request."""
    async with served() as (site, stream):
        await ask(stream, "/stream")
        await poll(lambda: site.running)
        await ask(stream, "/whole")
        await trio.sleep(0.1)  # ten looks
        assert site.running == 1
        site.go_on.set()
        data = b""
        with trio.fail_after(30):
            while data.count(b"HTTP/1.1 200") < 2 or not data.endswith(b"hello"):
                data += await stream.receive_some()
        assert site.over == ["answered", "answered"]


async def test_what_the_handler_raises_comes_out_as_it_is() -> None:
    """Not in a group, which nobody expects there."""
    async with served() as (site, stream):
        site.failure = OSError("mine")
        await ask(stream, "/fail")
        with trio.fail_after(30):
            assert b"mine" in await stream.receive_some()


def test_tcp_is_told_to_probe() -> None:
    """A client whose machine has vanished says nothing: the kernel finds out. A unix socket needs none of that."""
    theirs, ours = socket.socketpair()
    with theirs, ours:
        assert not hangup._probe(ours.fileno()).poll(0)
        theirs.close()
        assert hangup._probe(ours.fileno()).poll(0)
    with _listening(None) as server, socket.create_connection(server.getsockname()) as client:
        assert not hangup._probe(client.fileno()).poll(0)
        assert client.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert client.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
