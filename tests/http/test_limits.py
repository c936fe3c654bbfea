"""Connections, drain, reload: what is bounded, and what happens at the bound."""

from __future__ import annotations

from functools import partial

import pytest
import trio

from faasd_py.http.server import Exchange, Server

from .support import LIMITS, LOOPBACK, Recorder, Wire, limits, listener, poll, serve

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def outcome(wire: Wire) -> int:
    """The status of one request, 0 if the connection was closed instead."""
    try:
        await wire.send(GET)
        return (await wire.answer()).status
    except (EOFError, trio.BrokenResourceError):
        return 0


async def test_connections_over_the_limit_are_not_served_until_one_ends() -> None:
    """`max_connections`: the next one waits in the backlog or is refused with 503; served ones are not disturbed."""
    async with serve(Recorder(), limits(max_connections=3)) as served:
        kept = [await served.open() for _ in range(3)]
        for wire in kept:
            assert await outcome(wire) == 200
        extra = await served.open()
        status = -1
        with trio.move_on_after(0.3):
            status = await outcome(extra)
        assert status in (-1, 0, 503)
        assert served.server.connections <= 3
        assert await outcome(kept[0]) == 200
        await kept.pop().stream.aclose()
        await poll(lambda: served.server.connections <= 3, "the closed one is forgotten")
        with trio.fail_after(5):
            if status == -1:
                assert (await extra.answer()).status == 200
            else:
                while await outcome(await served.open()) != 200:  # noqa: ASYNC110 - a bounded poll
                    await trio.sleep(0.02)


async def test_counts_go_back_to_zero() -> None:
    """Whatever way a connection ends, it is no longer counted."""
    async with serve(Recorder()) as served:
        for raw in (
            GET,
            b"garbage\r\n\r\n",
            b"GET / HT",
            b"",
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nx",
        ):
            wire = await served.open()
            if raw:
                await wire.send(raw)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await wire.stream.aclose()
        await poll(lambda: (served.server.connections, served.server.exchanges) == (0, 0), "nothing is left")


async def test_a_handler_that_raises_closes_its_connection_only() -> None:
    """WireErrors are the connection's own; the others go on."""
    from faasd_py.http.errors import PeerClosed

    async def broken(exchange: Exchange) -> None:
        if exchange.target == b"/bad":
            await exchange.start(200, b"", None)
            await exchange.write(b"some")
            raise PeerClosed("the peer broke off")
        await exchange.answer(200, b"", b"fine")

    async with serve(broken) as served:
        good, bad = await served.open(), await served.open()
        assert await outcome(good) == 200
        await bad.send(GET.replace(b"/ ", b"/bad "))
        assert (await bad.rest()).endswith(b"4\r\nsome\r\n")
        assert await outcome(good) == 200


async def test_a_handler_that_forgets_to_answer_closes_the_connection() -> None:
    """No answer is no answer: nothing is made up."""

    async def forgetful(exchange: Exchange) -> None:
        del exchange

    async with serve(forgetful) as served:
        wire = await served.open()
        await wire.send(GET)
        assert not (await wire.rest()).startswith(b"HTTP/1.1 2")


async def test_a_handler_that_forgets_to_end_breaks_the_answer_off() -> None:
    """A started answer that is not ended cannot look complete."""

    async def forgetful(exchange: Exchange) -> None:
        await exchange.start(200, b"", None)
        await exchange.write(b"some")

    async with serve(forgetful) as served:
        wire = await served.open()
        await wire.send(GET + GET)
        rest = await wire.rest()
    assert rest.count(b"HTTP/1.1 200") == 1
    assert rest.endswith(b"4\r\nsome\r\n")


async def test_new_limits_hold_for_the_next_request() -> None:
    """`set_limits` on a running server, as SIGHUP does, drops no connection."""
    async with serve(Recorder()) as served:
        wire = await served.open()
        assert await outcome(wire) == 200
        served.server.set_limits(limits(max_headers=2))
        fresh = await served.open()
        await fresh.send(b"GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n")
        assert (await fresh.refused()).status == 431
        assert await outcome(wire) == 200


async def drained(server: Server, done: trio.Event, *, task_status: trio.TaskStatus[int]) -> None:
    """Run the server and say when `run` returned."""
    sock = listener(LOOPBACK)
    port = sock.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(server.run, [sock]))
        task_status.started(port)
    sock.close()
    done.set()


async def test_drain_lets_running_exchanges_finish() -> None:
    """Idle connections close, the running one is answered with Connection: close, new ones are refused, `run` returns."""
    go, started, done = trio.Event(), trio.Event(), trio.Event()

    async def held(exchange: Exchange) -> None:
        if exchange.target == b"/held":
            started.set()
            await go.wait()
        await exchange.answer(200, b"", b"finished")

    server = Server(held, LIMITS)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(drained, server, done))
        idle = Wire(await trio.open_tcp_stream(LOOPBACK, port))
        busy = Wire(await trio.open_tcp_stream(LOOPBACK, port))
        assert await outcome(idle) == 200
        await busy.send(b"GET /held HTTP/1.1\r\nHost: a\r\n\r\n")
        await started.wait()
        server.drain()
        assert await idle.closed()
        with pytest.raises((OSError, EOFError, trio.BrokenResourceError)):
            late = Wire(await trio.open_tcp_stream(LOOPBACK, port))
            with trio.fail_after(0.5):
                await late.send(GET)
                await late.answer()
        assert not done.is_set()
        go.set()
        answer = await busy.answer()
        assert (answer.body, answer.closes) == (b"finished", True)
        assert await busy.closed()
        with trio.fail_after(5):
            await done.wait()
        for wire in (idle, busy):
            await wire.stream.aclose()


async def test_drain_answers_no_pipelined_request_that_had_not_begun() -> None:
    """After the answer with Connection: close nothing more is read (RFC 9112 §9.6)."""
    go, started, done = trio.Event(), trio.Event(), trio.Event()
    targets: list[bytes] = []

    async def held(exchange: Exchange) -> None:
        targets.append(exchange.target)
        started.set()
        await go.wait()
        await exchange.answer(200, b"", b"")

    server = Server(held, LIMITS)
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(drained, server, done))
        wire = Wire(await trio.open_tcp_stream(LOOPBACK, port))
        await wire.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
        await started.wait()
        server.drain()
        go.set()
        assert (await wire.answer()).closes
        assert await wire.closed()
        await wire.stream.aclose()
    assert targets == [b"/1"]
    assert done.is_set()


async def test_drain_of_an_idle_server_returns_at_once() -> None:
    """Nothing runs: `run` returns; a second `drain` does no harm."""
    server, done = Server(Recorder(), LIMITS), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(drained, server, done))
        server.drain()
        server.drain()
        with trio.fail_after(2):
            await done.wait()


async def test_drain_does_not_wait_for_a_head_that_never_ends() -> None:
    """A connection in the middle of a head holds a stop up no longer than the head limit."""
    server, done = Server(Recorder(), limits(head_timeout=0.2)), trio.Event()
    async with trio.open_nursery() as nursery:
        port = await nursery.start(partial(drained, server, done))
        wire = Wire(await trio.open_tcp_stream(LOOPBACK, port))
        await wire.send(b"GET / HTT")
        await poll(lambda: server.connections == 1, "it is accepted")
        server.drain()
        assert (await wire.rest()).startswith(b"HTTP/1.1 408 ")
        await wire.stream.aclose()
        with trio.fail_after(3):
            await done.wait()
