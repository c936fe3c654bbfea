"""Large bodies: whole, in order, and never in memory. A slow side slows the other one."""

from __future__ import annotations

import gc
import hashlib
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from faasd_py.http.server import Exchange

from .support import Wire, echo, length_line, proxied, serve

SIZE = 64 << 20
PIECE = bytes(range(256)) * 1024
ROOM = 4 << 20
"""What one connection may hold, client and test included."""

FRAMINGS = ("length", "chunked")


@dataclass
class Peak:
    """Bytes of growth: the larger of what Python allocated and what the process got from the kernel."""

    bytes: int = 0


@contextmanager
def growth() -> Iterator[Peak]:
    """The peak of memory inside the block, over what there was before."""
    gc.collect()
    tracemalloc.start()
    base, _ = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    resident = forget_the_peak()
    peak = Peak()
    try:
        yield peak
    finally:
        peak.bytes = max(tracemalloc.get_traced_memory()[1] - base, of_process("VmHWM") - resident)
        tracemalloc.stop()


def of_process(name: str) -> int:
    """A line of /proc/self/status, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


def forget_the_peak() -> int:
    """The resident size now, from which VmHWM counts again; where the kernel does not let us, the old peak."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return of_process("VmHWM")
    return of_process("VmRSS")


async def push(wire: Wire, framing: str, size: int = SIZE) -> None:
    """A request with `size` bytes of body."""
    head = b"POST /up HTTP/1.1\r\nHost: a\r\n"
    if framing == "length":
        await wire.send(head + b"Content-Length: %d\r\n\r\n" % size)
        for _ in range(size // len(PIECE)):
            await wire.send(PIECE)
        return
    await wire.send(head + b"Transfer-Encoding: chunked\r\n\r\n")
    for _ in range(size // len(PIECE)):
        await wire.send(b"%x\r\n" % len(PIECE), PIECE, b"\r\n")
    await wire.send(b"0\r\n\r\n")


async def pull_length(wire: Wire, size: int) -> str:
    """Read exactly `size` bytes of body and return their hash."""
    digest, left = hashlib.sha256(wire.buffer), size - len(wire.buffer)
    wire.buffer.clear()
    while left:
        with trio.fail_after(5):
            data = await wire.stream.receive_some(min(left, 65536))
        assert data, f"{left} bytes are missing"
        digest.update(data)
        left -= len(data)
    return digest.hexdigest()


async def pull(wire: Wire, framing: str, size: int = SIZE) -> str:
    """The hash of an answer's body."""
    head = (await wire.until(b"\r\n\r\n")).lower()
    wire.seen.clear()
    if framing == "length":
        assert b"content-length: %d\r\n" % size in head
        return await pull_length(wire, size)
    assert b"transfer-encoding: chunked" in head
    digest = hashlib.sha256()
    while piece := await wire.chunk():
        wire.seen.clear()
        digest.update(piece)
    return digest.hexdigest()


def expected(size: int = SIZE) -> str:
    digest = hashlib.sha256()
    for _ in range(size // len(PIECE)):
        digest.update(PIECE)
    return digest.hexdigest()


async def swallow(exchange: Exchange) -> None:
    """Hash the body and answer with it."""
    digest = hashlib.sha256()
    while piece := await exchange.read():
        assert len(piece) <= 262144
        digest.update(piece)
    await exchange.answer(200, b"", digest.hexdigest().encode())


async def produce(exchange: Exchange) -> None:
    """A large answer, with a length if the target asks so."""
    length = SIZE if exchange.target == b"/length" else None
    await exchange.start(200, length_line(length), length)
    for _ in range(SIZE // len(PIECE)):
        await exchange.write(PIECE)
    await exchange.end()


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_64_mib_up_in_flat_memory(framing: str) -> None:
    """An upload passes through in pieces."""
    async with serve(swallow) as served:
        wire = await served.open()
        with growth() as peak:
            await push(wire, framing)
            answer = await wire.answer()
    assert answer.body.decode() == expected()
    assert peak.bytes < ROOM


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_64_mib_down_in_flat_memory(framing: str) -> None:
    """A download too."""
    async with serve(produce) as served:
        wire = await served.open()
        with growth() as peak:
            await wire.send(b"GET /" + framing.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            digest = await pull(wire, framing)
    assert digest == expected()
    assert peak.bytes < ROOM


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_64_mib_echo_in_flat_memory(framing: str) -> None:
    """Up and down at once, full duplex: the client reads while it sends."""
    async with serve(echo) as served:
        wire = await served.open()
        with growth() as peak:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push, wire, framing)
                digest = await pull(wire, framing)
    assert digest == expected()
    assert peak.bytes < ROOM


async def echo_peer(wire: Wire, _n: int) -> None:
    """A hand-written peer that sends each byte of a body of known length straight back."""
    head = (await wire.until(b"\r\n\r\n")).lower()
    if b"transfer-encoding: chunked" in head:
        await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while piece := await wire.chunk():
            wire.seen.clear()
            await wire.send(b"%x\r\n" % len(piece) + piece + b"\r\n")
        await wire.send(b"0\r\n\r\n")
        return
    left = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
    await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % left)
    while left:
        data = wire.take(len(wire.buffer)) or await wire.stream.receive_some(65536)
        if not data:
            return
        left -= len(data)
        await wire.send(data)


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_64_mib_through_the_proxy_in_flat_memory(framing: str) -> None:
    """Server, handler, pool and peer: four sockets, one body each way, still flat."""
    async with proxied(echo_peer) as (served, _peer):
        wire = await served.open()
        with growth() as peak:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(push, wire, framing)
                digest = await pull(wire, framing)
    assert digest == expected()
    assert peak.bytes < 2 * ROOM


async def stalled(count: list[int]) -> int:
    """Wait until a count stops growing."""
    last = -1
    while count[0] != last:
        last = count[0]
        await trio.sleep(0.1)
    return last


async def test_a_reader_that_waits_stops_the_writer() -> None:
    """Back-pressure down: with nothing read, only socket buffers and one bounded buffer fill; then it goes on and is whole."""
    written = [0]

    async def count(exchange: Exchange) -> None:
        await exchange.start(200, length_line(SIZE), SIZE)
        for _ in range(SIZE // len(PIECE)):
            await exchange.write(PIECE)
            written[0] += len(PIECE)
        await exchange.end()

    async with serve(count, sndbuf=65536) as served:
        wire = await served.open(rcvbuf=65536)
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await wire.until(b"\r\n\r\n")
        assert await stalled(written) < ROOM
        assert await pull_length(wire, SIZE) == expected()


async def test_a_handler_that_waits_stops_the_client() -> None:
    """Back-pressure up: an unread body stays with its sender."""
    go, sent = trio.Event(), [0]

    async def late(exchange: Exchange) -> None:
        await go.wait()
        await swallow(exchange)

    async def client(wire: Wire) -> None:
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            await wire.send(PIECE)
            sent[0] += len(PIECE)

    async with serve(late) as served, trio.open_nursery() as nursery:
        wire = await served.open()
        nursery.start_soon(client, wire)
        assert await stalled(sent) < SIZE // 2  # loopback sockets alone may hold several MiB
        go.set()
        assert (await wire.answer()).body.decode() == expected()


async def test_a_slow_client_stops_the_peer_of_a_proxy() -> None:
    """Through the proxy: a client that reads nothing stops a peer that sends without end, in bounded memory."""
    sent = [0]

    async def fountain(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            await wire.send(PIECE)
            sent[0] += len(PIECE)

    async with proxied(fountain) as (served, _peer):
        wire = await served.open(rcvbuf=65536)
        with growth() as peak:
            await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            await wire.until(b"\r\n\r\n")
            assert await stalled(sent) < SIZE // 2
        assert peak.bytes < ROOM
        assert await pull_length(wire, SIZE) == expected()


async def test_a_peer_that_does_not_read_stops_the_client() -> None:
    """Through the proxy, upwards."""
    go, sent = trio.Event(), [0]

    async def late(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await go.wait()
        left = SIZE - len(wire.buffer)
        wire.buffer.clear()
        while left:
            left -= len(await wire.stream.receive_some(65536))
        await wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async def client(wire: Wire) -> None:
        await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % SIZE)
        for _ in range(SIZE // len(PIECE)):
            await wire.send(PIECE)
            sent[0] += len(PIECE)

    async with proxied(late) as (served, _peer), trio.open_nursery() as nursery:
        wire = await served.open()
        with growth() as peak:
            nursery.start_soon(client, wire)
            assert await stalled(sent) < SIZE // 2
        assert peak.bytes < ROOM
        go.set()
        assert (await wire.answer()).status == 200


async def test_each_write_is_on_its_way_at_once() -> None:
    """Server-sent events: the client has a piece before the handler writes the next one, also through the proxy."""
    turn = trio.Semaphore(0)

    async def events(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for n in range(5):
            piece = b"data: %d\n\n" % n
            await wire.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            await turn.acquire()
        await wire.send(b"0\r\n\r\n")

    async with proxied(events) as (served, _peer):
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        await wire.until(b"\r\n\r\n")
        for n in range(5):
            assert await wire.chunk() == b"data: %d\n\n" % n
            turn.release()
        assert await wire.chunk() == b""


async def test_the_head_of_an_answer_does_not_wait_for_its_body() -> None:
    """`start` alone is enough for the client to see the status."""
    go = trio.Event()

    async def head_first(exchange: Exchange) -> None:
        await exchange.start(200, b"X-A: 1\r\n", None)
        await go.wait()
        await exchange.end()

    async with serve(head_first) as served:
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert b"X-A: 1\r\n" in await wire.until(b"\r\n\r\n")
        go.set()
        assert await wire.chunk() == b""


async def test_forty_streams_at_once() -> None:
    """A slow reader among many slows nobody else."""
    size = 1 << 20
    async with serve(echo, sndbuf=65536) as served, trio.open_nursery() as nursery:
        lazy = await served.open(rcvbuf=4096)
        nursery.start_soon(push, lazy, "length", size * 8)
        done = []

        async def client() -> None:
            wire = await served.open()
            async with trio.open_nursery() as inner:
                inner.start_soon(push, wire, "chunked", size)
                done.append(await pull(wire, "chunked", size))

        async with trio.open_nursery() as clients:
            for _ in range(40):
                clients.start_soon(client)
        nursery.cancel_scope.cancel()
    assert done == [expected(size)] * 40
