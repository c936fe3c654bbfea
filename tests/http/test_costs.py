"""What bad clients cost: time, descriptors, connections."""

from __future__ import annotations

import os
import resource
import socket
import ssl
import struct
import time
from pathlib import Path

import pytest
import trio
import trustme

from faasd_py.http.server import Exchange

from .support import LOOPBACK, Recorder, Wire, limits, poll, serve

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


async def test_a_flood_of_empty_lines_costs_little() -> None:
    """Four megabytes of CRLF are refused soon, or skipped at little cost; others are served."""
    async with serve(Recorder()) as served:
        wire = await served.open()
        began = time.thread_time()
        try:
            for _ in range(64):
                await wire.send(b"\r\n" * 32768)
        except trio.BrokenResourceError:
            pass
        assert time.thread_time() - began < 0.4
        assert (await served.ask(GET)).status == 200


async def test_a_head_that_comes_byte_by_byte_costs_little() -> None:
    """Sixteen thousand single bytes of a head do not cost the square of it."""
    async with serve(Recorder(), limits(max_head=65536)) as served:
        wire = await served.open()
        sock = wire.stream.socket  # type: ignore[attr-defined]
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        began = time.thread_time()
        for _ in range(4000):
            await sock.send(b"aaaaaaaaaa")
            await trio.lowlevel.checkpoint()
        await wire.send(b"\r\n\r\n")
        assert (await wire.answer()).status == 200
        assert time.thread_time() - began < 1.5


async def test_many_tiny_chunks_cost_little() -> None:
    """200 000 chunks of one byte are read in the time that a megabyte of them is worth."""
    raw = b"1\r\nx\r\n" * 200_000 + b"0\r\n\r\n"
    recorder = Recorder()
    async with serve(recorder) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        began = time.thread_time()
        nursery.start_soon(wire.send, POST + b"Transfer-Encoding: chunked\r\n\r\n" + raw)
        assert (await wire.answer()).status == 200
        assert time.thread_time() - began < 2.0
    assert recorder.requests[0].body == b"x" * 200_000


async def test_modest_extensions_of_a_long_body_are_put_up_with() -> None:
    """A signed upload has some 85 bytes of extension on each 64 KiB chunk: their sum is no attack."""
    size = 0

    async def count(exchange: Exchange) -> None:
        nonlocal size
        while piece := await exchange.read():
            size += len(piece)
        await exchange.answer(200, b"", b"")

    async with serve(count) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        piece = b"10000;chunk-signature=" + b"a" * 64 + b"\r\n" + bytes(65536) + b"\r\n"
        nursery.start_soon(
            wire.send, POST + b"Transfer-Encoding: chunked\r\n\r\n" + piece * 400 + b"0\r\n\r\n"
        )
        assert (await wire.answer()).status == 200
    assert size == 400 * 65536


async def test_running_out_of_file_descriptors_passes() -> None:
    """EMFILE while accepting: those who wait are served when there are descriptors again; the server neither ends nor spins."""
    async with serve(Recorder()) as served:
        socks = [trio.socket.socket() for _ in range(5)]
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        highest = max(int(entry.name) for entry in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            fillers = fill()
            for sock in socks:
                await sock.connect((LOOPBACK, served.port))
            began = time.thread_time()
            await trio.sleep(0.3)
            assert time.thread_time() - began < 0.1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for fd in fillers:
                os.close(fd)
        for sock in socks:
            wire = Wire(trio.SocketStream(sock))
            await wire.send(GET)
            assert (await wire.answer()).status == 200
            await wire.stream.aclose()


def fill() -> list[int]:
    """Take every descriptor that is left."""
    fds: list[int] = []
    try:
        while True:
            fds.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        return fds


@pytest.mark.parametrize("secure", [False, True])
async def test_clients_that_reset_before_they_are_accepted(secure: bool) -> None:
    """A connection that is dead when it is accepted is dropped."""
    context = None
    if secure:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with serve(Recorder(), tls=context) as served:
        for _ in range(30):
            sock = socket.socket()
            sock.connect((LOOPBACK, served.port))
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        await poll(lambda: served.server.connections == 0, "all are forgotten")
        if not secure:
            assert (await served.ask(GET)).status == 200
