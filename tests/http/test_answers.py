"""Answers of the server: framing, interim answers, and statuses that have no body."""

from __future__ import annotations

import pytest

from faasd_py.http.server import Exchange

from .support import Recorder, echo, serve

POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"


async def test_a_chunked_answer_is_well_formed() -> None:
    """`start` without a length frames the answer in chunks, each write a chunk at once."""

    async def drip(exchange: Exchange) -> None:
        await exchange.start(200, b"Content-Type: text/plain\r\n", None)
        for piece in (b"a", b"", b"bc", b"d" * 100_000):
            await exchange.write(piece)
        await exchange.end()

    async with serve(drip) as served:
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        first, second = await wire.answer(), await wire.answer()
    assert first.body == second.body == b"abc" + b"d" * 100_000
    assert first.framing == "chunked"


async def test_an_http10_client_never_sees_chunks() -> None:
    """RFC 9112 §7: an answer of unknown length to HTTP/1.0 ends with the connection."""

    async def drip(exchange: Exchange) -> None:
        await exchange.start(200, b"", None)
        await exchange.write(b"abc")
        await exchange.write(b"def")
        await exchange.end()

    async with serve(drip) as served:
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        raw = await wire.rest()
    head, _, body = raw.partition(b"\r\n\r\n")
    assert body == b"abcdef"
    assert b"transfer-encoding" not in head.lower()


async def test_http10_closes_unless_it_asks_to_keep_alive() -> None:
    """RFC 9112 §9.3."""
    async with serve(Recorder()) as served:
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await wire.answer()).status == 200
        assert await wire.closed()
        kept = await served.open()
        for _ in range(2):
            await kept.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            answer = await kept.answer()
            assert answer.status == 200
            if answer.closes:
                break


@pytest.mark.parametrize("status", [204, 304])
async def test_a_status_without_body_has_none(status: int) -> None:
    """204 and 304 never carry a body, and the connection goes on (RFC 9112 §6.3)."""

    async def bare(exchange: Exchange) -> None:
        await exchange.answer(status, b"X-A: 1\r\n", b"")

    async with serve(bare) as served:
        wire = await served.open()
        await wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
        for _ in range(2):
            answer = await wire.answer()
            assert answer.status == status
            assert answer.get(b"transfer-encoding") is None
            if status == 204:
                assert answer.get(b"content-length") is None


async def test_head_gets_the_head_only() -> None:
    """HEAD: the framing fields of a GET without its body, by `answer` and by `start` (RFC 9110 §9.3.2)."""

    async def both(exchange: Exchange) -> None:
        if exchange.target == b"/whole":
            await exchange.answer(200, b"", b"hello")
            return
        await exchange.start(
            200,
            b"Content-Length: 5\r\n" if exchange.target == b"/sized" else b"",
            5 if exchange.target == b"/sized" else None,
        )
        await exchange.write(b"hello")
        await exchange.end()

    async with serve(both) as served:
        wire = await served.open()
        for target in (b"/whole", b"/sized", b"/chunked"):
            await wire.send(b"HEAD " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = await wire.answer(b"HEAD")
            assert answer.status == 200
            if target != b"/chunked":
                assert answer.get(b"content-length") == b"5"
        await wire.send(b"GET /whole HTTP/1.1\r\nHost: a\r\n\r\n")
        assert (await wire.answer()).body == b"hello"


async def test_a_handler_that_lies_about_its_length_breaks_the_connection() -> None:
    """Too few or too many bytes can never shift the next answer."""

    async def liar(exchange: Exchange) -> None:
        await exchange.start(200, b"Content-Length: 5\r\n", 5)
        await exchange.write(b"abc" if exchange.target == b"/short" else b"abcdefgh")
        await exchange.end()

    async with serve(liar) as served:
        for target in (b"/short", b"/long"):
            wire = await served.open()
            await wire.send(
                b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            _, _, body = (await wire.rest()).partition(b"\r\n\r\n")
            assert len(body) <= 5, body
            assert b"HTTP/1.1" not in body


async def test_expect_100_continue_is_sent_when_the_handler_reads() -> None:
    """RFC 9110 §10.1.1: one interim answer, then the final one."""
    async with serve(Recorder()) as served:
        wire = await served.open()
        await wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert (await wire.answer()).status == 100
        await wire.send(b"hello")
        answer = await wire.answer()
    assert (answer.status, answer.body) == (200, b"1")


async def test_expect_100_continue_is_not_sent_to_a_refused_request() -> None:
    """A handler that answers without reading gives the final status at once, and the body is never taken for a request."""

    async def no(exchange: Exchange) -> None:
        await exchange.answer(413, b"", b"no")

    async with serve(no) as served:
        wire = await served.open()
        await wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        answer = await wire.answer()
        assert answer.status == 413
        if not answer.closes:
            await wire.send(b"hello" + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await wire.answer()).status == 413
        else:
            assert await wire.closed()


async def test_expect_is_not_answered_when_the_body_came_along() -> None:
    """A client that did not wait needs no 100; what it gets is still one final answer."""
    async with serve(echo) as served:
        wire = await served.open()
        await wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 5\r\n\r\nhello")
        answer = await wire.final()
    assert (answer.status, answer.body) == (200, b"hello")


async def test_expect_of_something_else_is_417_or_ignored() -> None:
    """RFC 9110 §10.1.1."""
    async with serve(echo) as served:
        answer = await served.ask(POST + b"Expect: 200-maybe\r\nContent-Length: 5\r\n\r\nhello")
    assert answer.status in (200, 417)


async def test_an_answer_has_one_of_each_framing_field() -> None:
    """`extra` lines join the answer unless the name is there already; a length is never doubled."""

    async def extra(exchange: Exchange) -> None:
        exchange.extra = b"X-Call-Id: 7\r\nX-Own: extra\r\n"
        await exchange.answer(200, b"x-own: handler\r\nContent-Length: 2\r\n", b"ok")

    async with serve(extra) as served:
        answer = await served.ask(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.get(b"x-call-id"), answer.get(b"x-own"), answer.body) == (b"7", b"handler", b"ok")
