"""How answers leave the control plane: in as few pieces as there is something to wait for."""

from __future__ import annotations

import socket
from functools import partial

import pytest
import trio
from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control.bare_app import bare_app
from faasd_py.control.connection import Connection
from faasd_py.control.connections import Connections
from faasd_py.control.serve import serve_control


class Watched:
    """A stream, and what is sent over it, as it is sent."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.sent: list[bytes] = []
        self._stream = stream
        self.socket, self.receive_some = stream.socket, stream.receive_some
        self.send_eof, self.aclose = stream.send_eof, stream.aclose

    async def send_all(self, data: bytes) -> None:
        self.sent.append(bytes(data))
        await self._stream.send_all(data)


@pytest.fixture
def app() -> QuartTrio:
    app = bare_app("test")
    app.more = trio.Event()

    @app.get("/known")
    async def known() -> Response:
        return Response(b"x" * 1000, 200)

    @app.get("/none")
    async def none() -> Response:
        return Response("", 202)

    @app.get("/open")
    async def open_ended() -> Response:
        async def pieces():
            await app.more.wait()
            yield b"one"
            yield b"two"

        return Response(pieces(), 200)

    @app.post("/take")
    async def take() -> Response:
        return Response(await request.get_data(), 200)

    return app


@pytest.fixture
async def ends(app, nursery):
    """`(stream of a client's, stream of the server's)`."""
    here, there = (trio.socket.from_stdlib_socket(one) for one in socket.socketpair())
    server, client = Watched(trio.SocketStream(there)), trio.SocketStream(here)
    app.nursery = nursery
    connections = Connections(app)
    connection = Connection(connections._asgi, connections._config, connections._context, server)
    with here, there:
        nursery.start_soon(connection.run)
        yield client, server


async def reading(client: trio.SocketStream, end: bytes) -> bytes:
    answer = b""
    with trio.fail_after(20):
        while not answer.endswith(end):
            answer += await client.receive_some()
    return answer


@pytest.mark.parametrize(
    ("path", "end"), [("/known", b"xxx"), ("/none", b"\r\n\r\n")], ids=["with a body", "without one"]
)
async def test_an_answer_whose_length_is_known_is_sent_at_once(ends, path, end):
    """Head, body and end are one system call, request after request."""
    client, server = ends
    for _ in range(3):
        server.sent.clear()
        await client.send_all(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        answer = await reading(client, end)
        assert server.sent == [answer]
        assert answer.startswith(b"HTTP/1.1 20")


async def test_an_open_ended_answer_begins_at_once(ends, app):
    """Its head does not wait for what has yet to happen."""
    client, server = ends
    await client.send_all(b"GET /open HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (await reading(client, b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    app.more.set()
    assert b"two" in await reading(client, b"0\r\n\r\n")
    assert len(server.sent) == 4


async def test_a_body_that_looks_like_a_head(ends):
    """It comes back as it is."""
    client, _ = ends
    body = b"HTTP/1.1 200 \r\ncontent-length: 3\r\n\r\nabc"
    for _ in range(2):
        head = f"POST /take HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        await client.send_all(head.encode() + body)
        answer = await reading(client, body)
        assert answer.count(b"HTTP/1.1 200") == 2


async def test_idle_connections_are_closed_at_a_stop(daemon, tmp_path):
    """Also those that were of use: nobody waits for the grace to be over."""
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_control, daemon, tmp_path, stop=stop.wait))
        stream = await trio.open_unix_socket(str(tmp_path / "control.sock"))
        await stream.send_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        await reading(stream, b"OK")
        begun = trio.current_time()
        stop.set()
        assert await stream.receive_some() == b""
        assert trio.current_time() - begun < 1.5
    await stream.aclose()
