"""Many callers, peers that misbehave at random, clients that leave: every answer is the caller's own, every request came once."""

from __future__ import annotations

import random
import socket
import struct
from collections import Counter
from contextlib import suppress
from functools import partial

import pytest
import trio

from faasd_py.http.client import Pool
from faasd_py.http.collect import Collector
from faasd_py.http.errors import WireError
from faasd_py.http.server import Exchange

from .support import Served, Wire, forward, limits, poll, pooled, request_head, serve, upstream

CALLERS = 25
CALLS = 20


class Chaos:
    """A peer that answers rightly, mostly, and remembers which requests it saw."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.seen: Counter[bytes] = Counter()

    async def __call__(self, wire: Wire, _n: int) -> None:
        while True:
            _, target, lines = request_head(await wire.until(b"\r\n\r\n"))
            self.seen[target] += 1
            fields = dict(lines)
            if b"transfer-encoding" in fields:
                body = await wire.chunks()
            else:
                body = await wire.exactly(int(fields.get(b"content-length", b"0")))
            if not await self.answer(wire, target + b" " + body):
                return

    async def answer(self, wire: Wire, text: bytes) -> bool:
        """One of many ways to answer; False ends the connection."""
        whole = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
        chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (
            len(text),
            text,
        )
        match self.rng.randrange(16):
            case 0:
                return False
            case 1:
                self.reset(wire)
                return False
            case 2:
                await wire.send(whole[: self.rng.randrange(len(whole))])
                return False
            case 3:
                await wire.send(whole + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")
            case 4:
                await wire.send(whole)
                return False
            case 5:
                await wire.send(b"HTTP/1.1 100 Continue\r\n\r\n" + chunks)
            case 6:
                await wire.send(chunks + b"0\r\n\r\n")
            case 7:
                await wire.send(b"garbage\r\n\r\n")
            case 8:
                await wire.send(whole)
                self.reset(wire)
                return False
            case 9:
                await wire.send(*(bytes([byte]) for byte in chunks[:200]), chunks[200:])
            case 10:
                await trio.sleep(self.rng.random() * 0.05)
                await wire.send(whole)
            case 11:
                await wire.send(b"HTTP/1.1 200 OK\r\n\r\n" + text)
                return False
            case _:
                await wire.send(self.rng.choice((whole, chunks)))
        return True

    @staticmethod
    def reset(wire: Wire) -> None:
        wire.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # type: ignore[attr-defined]


class Pieces:
    """A body that is still arriving."""

    def __init__(self, body: bytes) -> None:
        self.left = [body[:3], body[3:]] if len(body) > 3 else [body]

    async def read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        return self.left.pop(0) if self.left else b""


async def call(pool: Pool, rng: random.Random, name: bytes, outcomes: Counter[str]) -> None:
    """One request in one of several ways, perhaps given up half-way."""
    reply, body = Collector(1 << 20), rng.choice((b"", b"b" * 10, b"c" * 5000))
    host, impatience = b"Host: a\r\n", rng.choice((5.0, 5.0, 5.0, 0.005))
    sized = host + (b"Content-Length: %d\r\n" % len(body) if body else b"")
    with trio.move_on_after(impatience) as scope:
        try:
            if rng.random() < 0.5 or not body:
                await pool.request(b"POST", name, sized, body, len(body), None, reply)
            elif rng.random() < 0.5:
                await pool.request(b"POST", name, sized, None, len(body), Pieces(body), reply)
            else:
                await pool.request(b"POST", name, host, None, None, Pieces(body), reply)
        except WireError:
            outcomes["failed"] += 1
            return
    if scope.cancelled_caught:
        outcomes["given up"] += 1
        assert impatience < 1, "a request hung"
        return
    outcomes["answered"] += 1
    assert reply.complete
    assert reply.body == name + b" " + body


@pytest.mark.parametrize("running", [False, True])
@pytest.mark.parametrize("seed", [21, 22, 23])
async def test_every_answer_is_its_callers_own(seed: int, running: bool) -> None:
    """Whatever the peers do, no caller gets another's answer, no request is sent twice, and nothing hangs."""
    chaos, outcomes = Chaos(seed), Counter()
    async with (
        upstream(chaos) as peer,
        pooled(peer, running=running, read_timeout=2.0) as pool,
        trio.open_nursery() as nursery,
    ):

        async def caller(n: int) -> None:
            rng = random.Random(seed * 1000 + n)
            for k in range(CALLS):
                await call(pool, rng, b"/%d/%d" % (n, k), outcomes)

        for n in range(CALLERS):
            nursery.start_soon(caller, n)
    assert max(chaos.seen.values()) == 1
    assert outcomes["answered"] > CALLERS * CALLS // 3
    assert outcomes["failed"] > 10


async def visit(served: Served, rng: random.Random, name: bytes, outcomes: Counter[str]) -> None:
    """A client on a connection of its own: sends in pieces, may leave at any point, and checks what it gets."""
    wire = await served.open()
    body = rng.choice((b"", b"x" * 10, b"y" * 100_000))
    head = b"POST " + name + b" HTTP/1.1\r\nHost: a\r\n"
    if rng.random() < 0.5:
        raw = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    else:
        raw = (
            head
            + b"Transfer-Encoding: chunked\r\n\r\n"
            + (b"%x\r\n%b\r\n" % (len(body), body) if body else b"")
            + b"0\r\n\r\n"
        )
    stop = rng.randrange(len(raw)) if rng.random() < 0.3 else len(raw)
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await wire.send(raw[: stop // 2], raw[stop // 2 : stop])
    if stop < len(raw) or rng.random() < 0.1:
        outcomes["left"] += 1
        await wire.stream.aclose()
        return
    try:
        answer = await wire.answer()
    except EOFError:
        outcomes["broken off"] += 1
        return
    outcomes[f"{answer.status}"] += 1
    assert answer.status in (200, 502)
    if answer.status == 200:
        assert answer.body == name + b" " + body
    await wire.stream.aclose()


@pytest.mark.parametrize("seed", [31, 32])
async def test_every_clients_answer_through_the_proxy_is_its_own(seed: int) -> None:
    """The same with clients that leave in the middle, through server and pool."""
    chaos, outcomes = Chaos(seed), Counter()
    bounds = limits(read_timeout=2.0, write_timeout=2.0)
    async with (
        upstream(chaos) as peer,
        pooled(peer, read_timeout=2.0) as pool,
        serve(partial(forward, pool), bounds) as served,
    ):
        async with trio.open_nursery() as nursery:

            async def client(n: int) -> None:
                rng = random.Random(seed * 1000 + n)
                for k in range(10):
                    await visit(served, rng, b"/%d/%d" % (n, k), outcomes)

            for n in range(CALLERS):
                nursery.start_soon(client, n)
        for wire in served.wires:
            await trio.aclose_forcefully(wire.stream)
        await poll(lambda: served.server.connections == 0, "all are forgotten")
    assert max(chaos.seen.values()) == 1
    assert outcomes["200"] > CALLERS * 3
    assert outcomes["left"] > 20


async def test_a_connection_shared_by_clients_is_never_shifted() -> None:
    """A proxy in front of us sends many clients' requests over one connection; early answers and half-read bodies do not shift it."""
    rng = random.Random(41)

    async def moody(exchange: Exchange) -> None:
        if exchange.target.endswith(b"early"):
            await exchange.answer(200, b"", exchange.target)
            return
        if exchange.target.endswith(b"some"):
            with trio.move_on_after(rng.choice((0, 0.001))):
                await exchange.read()
            await exchange.answer(200, b"", exchange.target)
            return
        size = 0
        while piece := await exchange.read():
            size += len(piece)
        await exchange.answer(200, b"", exchange.target + b" %d" % size)

    evil = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
    async with serve(moody) as served:
        for _ in range(12):
            wire, meant = await served.open(), []
            raw = b""
            for n in range(12):
                kind = rng.choice((b"early", b"some", b"all", b"all"))
                body = rng.choice((b"", evil, evil * 900, bytes(150_000) + evil))
                target = b"/%d/" % n + kind
                raw += (
                    b"POST "
                    + target
                    + b" HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
                    + body
                )
                meant.append(target + (b" %d" % len(body) if kind == b"all" else b""))
            async with trio.open_nursery() as nursery:
                nursery.start_soon(wire.send, raw)
                assert [(await wire.answer()).body for _ in meant] == meant
