"""Random peers: whatever a peer sends, the pool answers or raises a WireError, and reads what h11 reads."""

from __future__ import annotations

import random

import h11
import pytest
import trio

from faasd_py.http.collect import Collector
from faasd_py.http.errors import WireError

from .peers import BAD_ANSWERS, BROKEN_ENDINGS, CHATTER, GOOD_ANSWERS, UNTIL_CLOSE
from .support import Wire, pooled, upstream

SEEDS = [
    *BAD_ANSWERS.values(), *BROKEN_ENDINGS.values(), *CHATTER.values(), *UNTIL_CLOSE.values(),
    *(data for data, _ in GOOD_ANSWERS.values()),
]  # fmt: skip
PIECES = [
    b"\r\n", b"\n", b"\r", b"\x00", b" ", b":", b"0\r\n\r\n", b"\r\n\r\n", b"Content-Length: 2\r\n", b"Transfer-Encoding: chunked\r\n", b"HTTP/1.1 200 OK\r\n",
    b"Connection: close\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"\xff", b"5\r\nhello\r\n", b"304", b"101", b"-1",
]  # fmt: skip


def mutated(rng: random.Random) -> bytes:
    """A seed, with some bytes changed."""
    raw = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(0, 3)):
        at = rng.randrange(len(raw) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            raw[at:at] = rng.choice(PIECES)
        elif kind == 1:
            del raw[at : at + rng.randint(1, 8)]
        elif at < len(raw):
            raw[at] = rng.randrange(256) if kind == 2 else raw[at] ^ 0x20
    return bytes(raw)


def by_h11(raw: bytes) -> tuple[int, bytes] | None:
    """Status and body of the first final answer, if h11 finds a whole one before the end of the connection."""
    peer, body, status = h11.Connection(h11.CLIENT), bytearray(), 0
    peer.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    peer.send(h11.EndOfMessage())
    peer.receive_data(raw)
    peer.receive_data(b"")
    try:
        while True:
            event = peer.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, bytes(body)
            elif not isinstance(event, h11.InformationalResponse):
                return None
    except h11.RemoteProtocolError:
        return None


async def by_pool(raw: bytes, step: int) -> tuple[int, bytes] | None:
    """The same by the pool; any error but a WireError fails the test, and so does a hang."""

    async def script(wire: Wire, _n: int) -> None:
        await wire.until(b"\r\n\r\n")
        for at in range(0, len(raw), step):
            await wire.send(raw[at : at + step])
            await trio.lowlevel.checkpoint()

    async with upstream(script) as peer, pooled(peer, read_timeout=2.0) as pool:
        reply = Collector(1 << 20)
        try:
            with trio.fail_after(3):
                await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, reply)
        except WireError:
            return None
        assert peer.connections == 1
        assert reply.complete
        return reply.status, reply.body


@pytest.mark.parametrize("seed", [11, 12, 13])
async def test_mutated_answers(seed: int) -> None:
    """What the pool takes for an answer, h11 takes for the same answer."""
    rng = random.Random(seed)
    for _ in range(150):
        raw, step = mutated(rng), rng.choice((1, 7, 4096))
        ours = await by_pool(raw, step)
        theirs = by_h11(raw)
        assert ours is None or theirs is None or ours == theirs, raw
