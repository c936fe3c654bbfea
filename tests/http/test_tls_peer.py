"""A peer behind TLS that talks out of turn or is cut off."""

from __future__ import annotations

import ssl

import pytest
import trio
import trustme

from faasd_py.http.client import dial_tcp
from faasd_py.http.collect import Collector
from faasd_py.http.errors import PeerClosed

from .support import LOOPBACK, Wire, pooled, upstream


async def test_records_behind_an_answer_are_nobodys_answer() -> None:
    """TLS: a second answer in a record of its own, in the same packet, is not taken for the answer to the next request."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("fn.test").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)
    (door,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
    connections: list[int] = []

    async def handle(stream: trio.SocketStream) -> None:
        connections.append(1)
        secure = Sewn(stream)
        tls = trio.SSLStream(secure, server, server_side=True, https_compatible=True)
        try:
            await tls.receive_some()
            secure.held = b""
            await tls.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood")
            await tls.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            await secure.release()
            await tls.receive_some()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            await trio.aclose_forcefully(stream)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [door])
        dial = dial_tcp(LOOPBACK, door.socket.getsockname()[1], 2.0)
        async with pooled(dial, tls=client, server_name="fn.test") as pool:
            for _ in range(2):
                reply = Collector(1000)
                await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, reply)
                assert reply.body == b"good"
        nursery.cancel_scope.cancel()


class Sewn(trio.abc.Stream):
    """A stream that holds back what is sent, so that several records leave in one packet."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.held: bytes | None = None

    async def send_all(self, data: bytes) -> None:
        if self.held is None:
            await self.stream.send_all(data)
        else:
            self.held += data
            await trio.lowlevel.checkpoint()

    async def release(self) -> None:
        held, self.held = self.held, None
        await self.stream.send_all(held or b"")

    async def wait_send_all_might_not_block(self) -> None:
        await self.stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self.stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self.stream.aclose()


async def test_an_answer_until_close_that_tls_cut_is_not_whole() -> None:
    """Without close_notify, an answer that ends with the connection may have been cut by anybody (RFC 9112 §9.8)."""
    authority = trustme.CA()
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("fn.test").configure_cert(server)
    client = ssl.create_default_context()
    authority.configure_trust(client)

    async def cut(wire: Wire, n: int) -> None:
        tls = trio.SSLStream(wire.stream, server, server_side=True)  # its aclose says close_notify
        await tls.receive_some()
        await tls.send_all(b"HTTP/1.1 200 OK\r\n\r\nhalf")
        if n == 1:
            await tls.aclose()

    async with upstream(cut) as peer, pooled(peer, tls=client, server_name="fn.test") as pool:
        reply = Collector(1000)
        with pytest.raises(PeerClosed):
            await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, reply)
        assert not reply.complete
        whole_one = Collector(1000)
        await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, whole_one)
        assert (whole_one.body, whole_one.complete) == (b"half", True)
