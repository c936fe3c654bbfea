"""The server's everyday: answers, extra lines, bodies, draining, and the task that keeps the deadlines."""

from __future__ import annotations

import socket
from functools import partial
from math import inf

import pytest
import trio
from trio.testing import MockClock

from faasd_py.http.collect import Collector
from faasd_py.http.errors import WireError
from faasd_py.http.server import Exchange, Server
from faasd_py.http.sweeper import GRAIN, Sweeper

from .support import LIMITS, Recorder, Wire, limits, listener, poll, serve

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def answer_of(extra: bytes, headers: bytes, body: bytes = b"hi", request: bytes = GET) -> bytes:
    """The raw answer of a handler that gives these."""

    async def handler(exchange: Exchange) -> None:
        exchange.extra = extra
        await exchange.answer(200, headers, body)

    async with serve(handler) as served:
        wire = await served.open()
        await wire.send(request)
        answer = await wire.until(b"\r\n\r\n") + await wire.exactly(len(body))
    return bytes(answer)


async def test_an_answer_has_a_date_a_length_and_nothing_else() -> None:
    """No Server field: who we are is nobody's business."""
    raw = await answer_of(b"", b"X-A: 1\r\n")
    names = [line.split(b":")[0] for line in raw.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]]
    assert names == [b"X-A", b"Date", b"Content-Length"]


async def test_the_functions_own_date_stays() -> None:
    """Ours is only for answers that have none (RFC 9110 §6.6.1)."""
    raw = await answer_of(b"", b"date: yesterday\r\n")
    assert raw.lower().count(b"\r\ndate:") == 1
    assert b"date: yesterday\r\n" in raw


async def test_extra_lines_give_way_to_the_functions() -> None:
    """A line whose name the answer has already is left out."""
    raw = await answer_of(b"X-Call-Id: ours\r\nX-Start-Time: 1\r\n", b"x-call-id: theirs\r\n")
    assert b"X-Start-Time: 1\r\n" in raw
    assert b"ours" not in raw


async def test_a_second_answer_is_a_bug_of_the_handler() -> None:
    """It raises there, and the first stands."""
    raised: list[Exception] = []

    async def twice(exchange: Exchange) -> None:
        await exchange.answer(200, b"", b"one")
        try:
            await exchange.answer(200, b"", b"two")
        except RuntimeError as error:
            raised.append(error)

    async with serve(twice) as served:
        assert (await served.ask(GET)).body == b"one"
    assert len(raised) == 1


async def test_an_http10_client_that_keeps_alive_is_told_so() -> None:
    """RFC 9112 §9.3: it would close otherwise."""
    raw = await answer_of(b"", b"", request=b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert b"\r\nConnection: keep-alive\r\n" in raw


async def test_gather_gives_a_small_body_whole() -> None:
    """However it came; an unknown or larger length is left to `read`."""
    got: list[bytes | None] = []

    async def handler(exchange: Exchange) -> None:
        got.append(await exchange.gather(10))
        while await exchange.read():
            pass
        await exchange.answer(200, b"", b"")

    async with serve(handler) as served:
        for head, body in ((b"Content-Length: 5", b"hello"), (b"Content-Length: 11", b"hello world")):
            wire = await served.open()
            await wire.send(b"POST / HTTP/1.1\r\nHost: a\r\n" + head + b"\r\n\r\n")
            await trio.testing.wait_all_tasks_blocked()
            await wire.send(body[:2])
            await trio.testing.wait_all_tasks_blocked()
            await wire.send(body[2:])
            assert (await wire.answer()).status == 200
    assert got == [b"hello", None]


async def test_read_gives_a_body_at_hand_once() -> None:
    """A handler may read without looking at `body`."""
    pieces: list[bytes] = []

    async def handler(exchange: Exchange) -> None:
        pieces.extend([await exchange.read(), await exchange.read()])
        await exchange.answer(200, b"", b"")

    async with serve(handler) as served:
        await served.ask(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi")
    assert pieces == [b"hi", b""]


async def test_the_same_head_again_is_a_request_of_its_own() -> None:
    """What a connection remembers of a head never carries over a body, or another head's fields."""
    recorder = Recorder()
    one = b"POST /a HTTP/1.1\r\nHost: a\r\nX-K: 1\r\nContent-Length: 3\r\n\r\n"
    two = b"POST /b HTTP/1.1\r\nHost: b\r\nContent-Length: 3\r\n\r\n"
    async with serve(recorder, fields=[b"x-k"]) as served:
        wire = await served.open()
        for raw in (one + b"aaa", one + b"bbb", two + b"ccc", one + b"ddd"):
            await wire.send(raw)
            assert (await wire.answer()).status == 200
    assert [(seen.target, seen.body) for seen in recorder.requests] == [
        (b"/a", b"aaa"), (b"/a", b"bbb"), (b"/b", b"ccc"), (b"/a", b"ddd"),
    ]  # fmt: skip
    assert [seen.fields.get(b"x-k") for seen in recorder.requests] == [b"1", b"1", None, b"1"]


async def test_a_flood_of_pipelined_requests_leaves_others_their_turn() -> None:
    """A connection that always has the next request at hand does not keep the loop to itself."""
    served_between: list[int] = []
    flooded = 0

    async def handler(exchange: Exchange) -> None:
        nonlocal flooded
        if exchange.target == b"/flood":
            flooded += 1
        else:
            served_between.append(flooded)
        await exchange.answer(200, b"", b"")

    async with serve(handler) as served:
        flood, other = await served.open(), await served.open()
        await other.send(GET)
        assert (await other.answer()).status == 200
        await flood.send(b"GET /flood HTTP/1.1\r\nHost: a\r\n\r\n" * 1500)
        await other.send(GET)
        assert (await other.answer()).status == 200
        for _ in range(1500):
            await flood.answer()
    assert served_between[1] < 1500


async def test_drain_ends_idle_connections_and_returns() -> None:
    """Stop accepting, close what is idle; `run` returns by itself."""
    server, door = Server(Recorder(), LIMITS), listener()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, [door]))
        wire = Wire(await trio.open_tcp_stream("127.0.0.1", door.getsockname()[1]))
        await wire.send(GET)
        assert not (await wire.answer()).closes
        server.drain()
        assert await wire.closed()
        await trio.aclose_forcefully(wire.stream)
    assert server.connections == 0
    assert door.fileno() == -1


async def test_a_request_that_came_before_the_drain_is_answered() -> None:
    """It was in the socket already: it gets its answer, and is told that the connection ends."""
    server, door = Server(Recorder(), LIMITS), listener()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, [door]))
        wire = Wire(await trio.open_tcp_stream("127.0.0.1", door.getsockname()[1]))
        await wire.send(GET)
        await wire.answer()
        sock = wire.stream.socket  # type: ignore[attr-defined]
        assert socket.socket.send(sock._sock, GET) == len(GET)
        server.drain()
        answer = await wire.answer()
        assert (answer.status, answer.closes) == (200, True)
        await trio.aclose_forcefully(wire.stream)


async def test_counts() -> None:
    """Connections and running exchanges, as they are now."""
    go = trio.Event()

    async def handler(exchange: Exchange) -> None:
        await go.wait()
        await exchange.answer(200, b"", b"")

    async with serve(handler) as served:
        wire = await served.open()
        await wire.send(GET)
        await poll(lambda: served.server.exchanges == 1, "one runs")
        assert served.server.connections == 1
        go.set()
        await wire.answer()
        await poll(lambda: served.server.exchanges == 0, "none runs")
        await trio.aclose_forcefully(wire.stream)
        await poll(lambda: served.server.connections == 0, "it is gone")


async def test_a_group_that_is_left_of_a_cancelled_handler_costs_its_connection_only(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A handler's nursery may add errors to the cancellation: they are logged, the client has its answer, others go on."""

    async def stubborn() -> None:
        try:
            await trio.sleep_forever()
        finally:
            raise RuntimeError("while being cancelled")

    async def handler(exchange: Exchange) -> None:
        if exchange.target == b"/slow":
            exchange.expect(0.05, 504, b"", b"late")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stubborn)
                await trio.sleep_forever()
        await exchange.answer(200, b"", b"")

    async with serve(handler) as served:
        wire = await served.open()
        await wire.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
        assert await wire.closed()
        assert (await served.ask(GET)).status == 200
    assert "while being cancelled" in caplog.text


async def test_an_answer_is_not_lost_to_what_is_still_unread() -> None:
    """Connection: close with more behind it: closing at once would reset the connection and take the answer along."""
    body = bytes(1 << 20)

    async def handler(exchange: Exchange) -> None:
        await exchange.answer(200, b"", body)

    async with serve(handler) as served:
        wire = await served.open(rcvbuf=65536)
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + b"junk" * 20_000)
        assert (await wire.answer()).body == body
        assert await wire.closed()
        assert not wire.reset


class Watched:
    """Something that has a deadline and remembers when it was cut."""

    def __init__(self, when: float) -> None:
        self.when = when
        self.cut_at: list[float] = []

    def due(self) -> float:
        return self.when

    def cut(self, now: float) -> None:
        self.when = inf
        self.cut_at.append(now)


async def test_the_sweeper_cuts_what_is_due(mock_clock: MockClock) -> None:
    """At its time, or at most a grain later; never before; and what moved on is spared."""
    sweeper = Sweeper()
    start = trio.current_time()
    soon, later, moved = Watched(start + 1), Watched(start + 1.1), Watched(start + 1.05)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweeper.run)
        for watched in (later, moved, soon):
            sweeper.watched.add(watched)
            sweeper.arm(watched.when)
        moved.when = start + 100
        mock_clock.autojump_threshold = 0
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert soon.cut_at[0] == pytest.approx(start + 1)
    assert start + 1.1 <= later.cut_at[0] <= start + 1.1 + GRAIN
    assert moved.cut_at == []


async def test_the_sweeper_sleeps_for_good_when_nothing_is_due(autojump_clock: MockClock) -> None:
    """No ticking: an idle server costs nothing."""
    sweeper = Sweeper()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sweeper.run)
        sweeper.watched.add(Watched(inf))
        await trio.testing.wait_all_tasks_blocked()
        assert sweeper.soonest == inf
        with trio.move_on_after(1000) as scope:
            await trio.sleep_forever()
        assert scope.cancelled_caught
        nursery.cancel_scope.cancel()


async def test_an_exchange_relaxed_in_time_is_not_cut(mock_clock: MockClock) -> None:
    """`expect` then `relax`: the handler may take as long as it likes."""

    async def handler(exchange: Exchange) -> None:
        exchange.expect(1, 504, b"", b"late")
        exchange.relax()
        mock_clock.jump(3)
        await trio.testing.wait_all_tasks_blocked()
        await exchange.answer(200, b"", b"in time")

    async with serve(handler, limits(idle_timeout=10)) as served:
        assert (await served.ask(GET)).body == b"in time"


async def test_a_collector_keeps_as_much_as_it_may() -> None:
    """Status, headers and the first bytes; the size is the whole answer's."""
    small, large = Collector(10), Collector(3)
    for reply in (small, large):
        await reply.start(201, b"A: 1\r\n", None)
        await reply.write(b"he")
        await reply.write(b"llo")
        assert (reply.began, reply.ended) == (True, False)
        await reply.end()
    assert (small.status, small.headers, small.body, small.size, small.complete) == (
        201,
        b"A: 1\r\n",
        b"hello",
        5,
        True,
    )
    assert (large.body, large.size, large.complete) == (b"hel", 5, False)
    with pytest.raises(WireError):
        await small.tunnel(b"", None)  # type: ignore[arg-type]
