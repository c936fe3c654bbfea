"""Nothing is left behind: no descriptor, no task, no memory, no line in the log, however it ended."""

from __future__ import annotations

import gc
import logging
from functools import partial
from pathlib import Path

import pytest
import trio

from faasd_py.http.collect import Collector
from faasd_py.http.errors import WireError
from faasd_py.http.server import Exchange, Server

from .corpus import cases
from .peers import BAD_ANSWERS, BROKEN_ENDINGS, CHATTER, says
from .support import (
    LIMITS,
    LOOPBACK,
    Recorder,
    Wire,
    forward,
    limits,
    listener,
    poll,
    pooled,
    proxied,
    serve,
    upstream,
)
from .test_smuggling import play, recording
from .test_streaming import ROOM, growth, stalled

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def descriptors() -> set[str]:
    """What is open, by name: sockets and pipes that were there before are the same after."""
    gc.collect()
    found = set()
    for entry in Path("/proc/self/fd").iterdir():
        try:
            found.add(f"{entry.name} {entry.readlink()}")
        except OSError:
            continue
    return {name for name in found if "socket" in name}


async def test_the_whole_corpus_leaves_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """Six hundred odd clients: no connection, no descriptor, and no traceback in the log: bad input is no event."""
    before = descriptors()
    with caplog.at_level(logging.INFO, "faasd_py.http"):
        async with proxied(recording) as (served, _peer):
            for case in cases():
                await play(served, case.raw)
                await served.wires.pop().stream.aclose()
            with trio.fail_after(5):
                while served.server.connections:  # noqa: ASYNC110 - a bounded poll
                    await trio.sleep(0.01)
            assert served.server.exchanges == 0
    await trio.testing.wait_all_tasks_blocked()
    assert descriptors() <= before
    assert caplog.records == []


async def test_bad_peers_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    """The pool closes what it cannot use."""
    before = descriptors()
    for data in (*BAD_ANSWERS.values(), *BROKEN_ENDINGS.values(), *CHATTER.values()):
        async with upstream(says(data, then_close=True)) as peer, pooled(peer) as pool:
            for _ in range(2):
                try:
                    await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, Collector(1000))
                except WireError:
                    continue
    assert descriptors() <= before
    assert caplog.records == []


PHASES = {
    "accepted": b"",
    "in a head": b"GET / HT",
    "in a handler": GET,
    "in a body": POST + b"Content-Length: 10\r\n\r\nhalf",
    "in chunks": POST + b"Transfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
    "refused": b"garbage\r\n\r\n",
    "after an answer": b"GET /quick HTTP/1.1\r\nHost: a\r\n\r\n",
}


@pytest.mark.parametrize("raw", PHASES.values(), ids=PHASES)
async def test_a_server_that_is_cancelled_ends_at_once(raw: bytes) -> None:
    """The hard stop: cancelled in any phase of a connection, `run` ends, closes everything, and sends nothing made up."""

    async def held(exchange: Exchange) -> None:
        if exchange.target == b"/quick":
            await exchange.answer(200, b"", b"")
            return
        await exchange.start(200, b"", None)
        while await exchange.read():
            pass
        await trio.sleep_forever()

    before = descriptors()
    sock = listener(LOOPBACK)
    server = Server(held, LIMITS)
    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(server.run, [sock]))
            wire = Wire(await trio.open_tcp_stream(LOOPBACK, sock.getsockname()[1]))
            if raw:
                await wire.send(raw)
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.cancel_scope.cancel()
    rest = await wire.rest()
    await wire.stream.aclose()
    assert server.connections == 0
    assert not rest.endswith(b"\r\n0\r\n\r\n")
    assert descriptors() <= before


async def test_a_cancelled_proxy_leaves_nothing_behind() -> None:
    """Cancelled while streams, tunnels and half requests cross it."""

    async def everything(wire: Wire, _n: int) -> None:
        head = await wire.until(b"\r\n\r\n")
        if b"websocket" in head:
            await wire.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        else:
            await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n")
        await wire.more()
        await trio.sleep_forever()

    before = descriptors()
    async with proxied(everything) as (served, peer):
        for raw in (
            GET,
            POST + b"Content-Length: 10\r\n\r\nhalf",
            b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        ):
            wire = await served.open()
            await wire.send(raw)
            await wire.until(b"\r\n\r\n")
        assert peer.connections == 3
    assert descriptors() <= before


async def test_a_pipelining_client_that_never_reads_is_not_stored() -> None:
    """Requests without end whose answers nobody takes: the server stops reading, and its memory stays flat."""
    sent = [0]

    async def flood(wire: Wire) -> None:
        batch = GET * 2000
        while True:
            await wire.send(batch)
            sent[0] += len(batch)

    async def wordy(exchange: Exchange) -> None:
        await exchange.answer(200, b"", bytes(2000))

    async with serve(wordy, sndbuf=65536) as served, trio.open_nursery() as nursery:
        wire = await served.open(rcvbuf=4096)
        with growth() as peak:
            nursery.start_soon(flood, wire)
            await stalled(sent)
        nursery.cancel_scope.cancel()
    assert peak.bytes < ROOM


async def test_a_tunnel_may_be_silent() -> None:
    """No limit of requests and bodies cuts a WebSocket that has nothing to say, on either side."""

    async def quiet(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        await wire.send(b"HTTP/1.1 101 S\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
        await wire.send((await wire.exactly(4)).upper())
        await wire.more()

    bounds = limits(head_timeout=0.2, idle_timeout=0.2, read_timeout=0.2, write_timeout=0.2)
    for running in (False, True):
        async with proxied(quiet, bounds, read_timeout=0.2, write_timeout=0.2, running=running) as (
            served,
            _peer,
        ):
            wire = await served.open()
            await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
            await wire.until(b"\r\n\r\n")
            await trio.sleep(0.5)
            await wire.send(b"late")
            assert await wire.exactly(4) == b"LATE"


def living() -> int:
    """Objects of the HTTP room that somebody still holds, less what it knows of answers, which has a bound of its own."""
    gc.collect()
    modules = [str(type(thing).__module__) for thing in gc.get_objects()]
    return sum(module.startswith("faasd_py.http") and not module.endswith(".known") for module in modules)


async def test_connections_that_come_and_go_leave_no_memory() -> None:
    """After hundreds of them, in all kinds, no more objects live than after the first few."""
    recorder = Recorder()
    kinds = [raw + b"Connection: close\r\n\r\n" for raw in (GET[:-2], POST + b"Content-Length: 0\r\n")] + [
        b"garbage\r\n\r\n"
    ]
    async with (
        serve(recorder) as inner,
        pooled(inner.dial()) as pool,
        serve(partial(forward, pool)) as served,
    ):

        async def visit(count: int) -> int:
            for n in range(count):
                wire = await served.open()
                await wire.send(kinds[n % len(kinds)])
                await wire.answer()
                await served.wires.pop().stream.aclose()
            recorder.requests.clear()
            await poll(lambda: served.server.connections == 0, "all are forgotten")
            return living()

        before = await visit(12)
        assert await visit(300) <= before
