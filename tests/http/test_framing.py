"""Bodies: lengths, chunks, trailers, and what the handler and the client see of them."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from faasd_py.http.server import Exchange

from .support import Recorder, Seen, serve, whole

POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


async def served_once(raw: bytes) -> Seen:
    """The one request that the handler saw, which was answered."""
    recorder = Recorder()
    async with serve(recorder) as served:
        answer = await served.ask(raw)
    assert answer.status == 200
    assert len(recorder.requests) == 1
    return recorder.requests[0]


async def broken_off(raw: bytes) -> None:
    """The body is wrong: the handler never gets a whole body, the client gets a 4xx or nothing, and the connection ends."""
    finished: list[bytes] = []

    async def collect(exchange: Exchange) -> None:
        finished.append(await whole(exchange))
        await exchange.answer(200, b"", b"")

    async with serve(collect) as served:
        wire = await served.open()
        await wire.send(raw)
        rest = await wire.rest()
    assert finished == []
    assert rest == b"" or rest.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 413 ", b"HTTP/1.1 431 ")), rest


GOOD_CHUNKS = {
    "one": (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
    "two": (b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
    "bytes one by one": (b"".join(b"1\r\n%c\r\n" % c for c in b"hello") + b"0\r\n\r\n", b"hello"),
    "none": (b"0\r\n\r\n", b""),
    "leading zeros": (b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "capital digits": (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "small digits": (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
    "extension": (b"5;name=value\r\nhello\r\n0\r\n\r\n", b"hello"),
    "extension without value": (b"5;name\r\nhello\r\n0;x\r\n\r\n", b"hello"),
    "quoted extension": (b'5;n="a b;c"\r\nhello\r\n0\r\n\r\n', b"hello"),
    "trailer": (b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n", b"hello"),
    "two trailers": (b"5\r\nhello\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", b"hello"),
    "line ends inside the data": (b"7\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n", b"\r\n0\r\n\r\n"),
}


@pytest.mark.parametrize(("raw", "body"), GOOD_CHUNKS.values(), ids=GOOD_CHUNKS)
async def test_a_chunked_body_is_joined(raw: bytes, body: bytes) -> None:
    """RFC 9112 §7.1; the handler sees data only, and no length."""
    seen = await served_once(CHUNKED + raw)
    assert (seen.body, seen.length) == (body, None)
    assert b"content-length" not in seen.headers.lower()
    assert b"transfer-encoding" not in seen.headers.lower()


BAD_CHUNKS = {
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"g\r\nhello\r\n0\r\n\r\n",
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "minus zero": b"-0\r\n\r\n",
    "space first": b" 5\r\nhello\r\n0\r\n\r\n",
    "space last": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab last": b"5\t\r\nhello\r\n0\r\n\r\n",
    "size ends in LF": b"5\nhello\r\n0\r\n\r\n",
    "size ends in CR": b"5\rhello\r\n0\r\n\r\n",
    "size ends in CR CR LF": b"5\r\r\nhello\r\n0\r\n\r\n",
    "extension ends in LF": b"5;x\nhello\r\n0\r\n\r\n",
    "CR in an extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "NUL in an extension": b"5;a\x00\r\nhello\r\n0\r\n\r\n",
    "quoted extension with CRLF": b'5;a="\r\nhello\r\n0\r\n\r\n',
    "data too long": b"5\r\nhello!\r\n0\r\n\r\n",
    "data too short": b"6\r\nhello\r\n0\r\n\r\n",
    "data ends in LF": b"5\r\nhello\n0\r\n\r\n",
    "data ends in CR": b"5\r\nhello\r0\r\n\r\n",
    "data ends in two letters": b"5\r\nhelloXX0\r\n\r\n",
    "no end of data": b"5\r\nhello0\r\n\r\n",
    "size over 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "size far over 64 bits": b"f" * 32 + b"\r\nhello\r\n0\r\n\r\n",
    "size of 16 f": b"ffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "decimal point": b"5.0\r\nhello\r\n0\r\n\r\n",
    "comma": b"5,5\r\nhello\r\n0\r\n\r\n",
    "two sizes": b"5 5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "trailer with a space before the colon": b"5\r\nhello\r\n0\r\nX-A : 1\r\n\r\n",
    "trailer without a colon": b"5\r\nhello\r\n0\r\nX-A\r\n\r\n",
    "trailer with NUL": b"5\r\nhello\r\n0\r\nX-A: \x00\r\n\r\n",
    "trailer folded": b"5\r\nhello\r\n0\r\nX-A: a\r\n b\r\n\r\n",
    "trailer ends in LF": b"5\r\nhello\r\n0\r\nX-A: 1\n\r\n",
    "last chunk ends in LF": b"5\r\nhello\r\n0\n\r\n",
    "end by LF": b"5\r\nhello\r\n0\r\n\n",
    "end by CR CR LF": b"5\r\nhello\r\n0\r\n\r\r\n",
    "something else than the end": b"5\r\nhello\r\n0\r\nGET / HTTP/1.1\r\n\r\n",
}


@pytest.mark.parametrize("raw", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_bad_chunk_breaks_the_request_off(raw: bytes) -> None:
    """Nothing after the bad byte is believed, and the body never counts as complete."""
    await broken_off(CHUNKED + raw + POST + b"Content-Length: 0\r\n\r\n")


@pytest.mark.parametrize("raw", BAD_CHUNKS.values(), ids=BAD_CHUNKS)
async def test_a_bad_chunk_is_found_in_a_later_read(raw: bytes) -> None:
    """The same when the body comes after the head, cut in two."""
    finished: list[bytes] = []

    async def collect(exchange: Exchange) -> None:
        finished.append(await whole(exchange))
        await exchange.answer(200, b"", b"")

    async with serve(collect) as served:
        wire = await served.open()
        await wire.send(CHUNKED)
        await wire.send(raw[:1], raw[1:] + b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        rest = await wire.rest()
    assert finished == []
    assert b"HTTP/1.1 200" not in rest


ENDLESS = {
    "extension": b"5;" + b"x" * 200_000,
    "size": b"0" * 200_000,
    "trailer": b"0\r\n" + b"X-A: 1\r\n" * 30_000,
    "trailer value": b"0\r\nX-A: " + b"a" * 200_000,
    "extensions of small chunks": b"1;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nx\r\n" * 40_000,
}


@pytest.mark.parametrize("raw", list(ENDLESS.values())[:-1], ids=list(ENDLESS)[:-1])
async def test_chunk_overhead_is_bounded(raw: bytes) -> None:
    """An extension, a size or a trailer that never ends is broken off like an endless head (RFC 9112 §7.1.1)."""
    finished: list[bytes] = []

    async def collect(exchange: Exchange) -> None:
        finished.append(await whole(exchange))

    async with serve(collect) as served:
        wire = await served.open()
        with suppress(trio.BrokenResourceError):  # a reset while sending is the cut that is wanted
            await wire.send(CHUNKED, raw)
        rest = await wire.rest()
    assert finished == []
    assert b"HTTP/1.1 200" not in rest


async def test_a_length_body_is_delivered_whole() -> None:
    """`length` is what was announced, and Content-Length stays among the headers."""
    seen = await served_once(POST + b"content-length: 5\r\n\r\nhello")
    assert (seen.body, seen.length) == (b"hello", 5)
    assert seen.headers.lower().count(b"content-length: 5\r\n") == 1


async def test_no_body_is_length_zero() -> None:
    """Neither Content-Length nor Transfer-Encoding: there is no body (RFC 9112 §6.3)."""
    seen = await served_once(b"POST / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (seen.body, seen.length) == (b"", 0)


async def test_content_length_is_there_exactly_when_length_is() -> None:
    """`headers` has a Content-Length line for every length that is not None, 0 included."""
    for raw in (
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        POST + b"Content-Length: 0\r\n\r\n",
        POST + b"Content-Length: 3\r\n\r\nabc",
        CHUNKED + b"0\r\n\r\n",
    ):
        seen = await served_once(raw)
        lines = [line for line in seen.headers.split(b"\r\n") if line.lower().startswith(b"content-length:")]
        assert len(lines) <= 1
        if seen.length is None:
            assert lines == []
        elif seen.length:
            assert lines == [b"Content-Length: %d" % seen.length]


async def test_a_get_may_have_a_body() -> None:
    """RFC 9110 §9.3.1: it has no meaning, but it is framed like any other."""
    seen = await served_once(b"GET /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert seen.body == b"hello"


async def test_equal_lengths_twice_are_one_or_refused() -> None:
    """RFC 9112 §6.3 allows both; nothing else may happen."""
    recorder = Recorder()
    async with serve(recorder) as served:
        answer = await served.ask(POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello")
    if answer.status == 200:
        assert recorder.requests[0].body == b"hello"
        assert recorder.requests[0].headers.lower().count(b"content-length") == 1
    else:
        assert (answer.status, recorder.requests) == (400, [])


async def test_trailers_are_not_headers() -> None:
    """A trailer can neither reach the headers nor change the framing of what follows (RFC 9110 §6.5.1)."""
    recorder = Recorder()
    async with serve(recorder, fields=(b"x-auth",)) as served:
        wire = await served.open()
        await wire.send(
            CHUNKED + b"5\r\nhello\r\n0\r\nX-Auth: evil\r\nHost: evil\r\nConnection: close\r\n\r\n",
            b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n",
        )
        first = await wire.answer()
        if first.status == 200:
            assert (await wire.answer()).status == 200
    for seen in recorder.requests:
        assert b"evil" not in seen.headers + seen.host
        assert seen.fields.get(b"x-auth") is None


async def test_a_body_that_ends_early_is_never_complete() -> None:
    """A half-close in the middle of a body is the client going away, not the end of the body."""
    await half_body(POST + b"Content-Length: 10\r\n\r\nhello")
    await half_body(CHUNKED + b"5\r\nhello\r\n")
    await half_body(CHUNKED + b"5\r\nhel")
    await half_body(CHUNKED + b"5\r\nhello\r\n0\r\n")
    await half_body(CHUNKED + b"5\r\nhello\r\n0\r\nX-A: 1\r\n")


async def half_body(raw: bytes) -> None:
    """Send it, half-close, and see that the handler never saw an end."""
    finished: list[bytes] = []

    async def collect(exchange: Exchange) -> None:
        finished.append(await whole(exchange))
        await exchange.answer(200, b"", b"")

    async with serve(collect) as served:
        wire = await served.open()
        await wire.send(raw)
        await wire.eof()
        rest = await wire.rest()
    assert finished == []
    assert b"HTTP/1.1 200" not in rest


async def test_an_unread_body_does_not_become_the_next_request() -> None:
    """A handler may answer without reading; the rest of the body is skipped or the connection closes."""
    targets: list[bytes] = []

    async def hasty(exchange: Exchange) -> None:
        targets.append(exchange.target)
        await exchange.answer(200, b"", b"")

    smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
    for split in (True, False):
        async with serve(hasty) as served:
            wire = await served.open()
            head = POST + b"Content-Length: %d\r\n\r\n" % (70_000 + len(smuggled))
            if split:
                await wire.send(head)
                assert (await wire.answer()).status == 200
            try:
                await wire.send(
                    head * (not split) + b"x" * 70_000 + smuggled + b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n"
                )
                await wire.eof()
            except trio.BrokenResourceError:  # the server may have closed already
                pass
            await wire.rest()
        assert b"/smuggled" not in targets


HOP_BY_HOP = (
    b"Connection: x-secret, keep-alive\r\nX-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\n"
    b"Proxy-Authenticate: x\r\nProxy-Authorization: y\r\nTE: trailers\r\nTrailer: X-Sum\r\n"
)


async def test_hop_by_hop_fields_are_cut_out() -> None:
    """RFC 9110 §7.6.1: the named ones and those that Connection names; the others stay byte for byte, in order."""
    seen = await served_once(
        b"GET / HTTP/1.1\r\nX-One:  1 \r\nHost: a\r\n" + HOP_BY_HOP + b"x-tWo: 2\r\nX-One: 3\r\n\r\n"
    )
    kept = [
        line
        for line in seen.headers.split(b"\r\n")
        if line and not line.lower().startswith(b"content-length")
    ]
    assert [line.split(b":")[0] for line in kept] == [b"X-One", b"x-tWo", b"X-One"]
    assert seen.headers.endswith(b"\r\n") or not seen.headers


@pytest.mark.parametrize(
    "named", [b"host", b"content-length", b"Content-Length, Host", b"x-call-id", b"transfer-encoding"]
)
async def test_connection_cannot_cut_out_framing_or_host(named: bytes) -> None:
    """Naming an end-to-end field of the framing in Connection does not change what the request is."""
    recorder = Recorder()
    async with serve(recorder, fields=(b"x-call-id",)) as served:
        answer = await served.ask(
            POST + b"Connection: " + named + b"\r\nX-Call-Id: 7\r\nContent-Length: 5\r\n\r\nhello"
        )
    if answer.status == 200:
        seen = recorder.requests[0]
        assert (seen.body, seen.length, seen.host) == (b"hello", 5, b"a")
        assert b"content-length: 5\r\n" in seen.headers.lower()


async def test_fields_are_the_first_values() -> None:
    """Names are found in any case, trimmed, only whole, and only in the head."""
    recorder = Recorder()
    async with serve(recorder, fields=(b"x-call-id", b"x-delay")) as served:
        await served.ask(
            POST
            + b"X-Call-Id-Not: 0\r\nNot-X-Call-Id: 0\r\nx-CALL-id: \t1 \r\nX-Call-Id: 2\r\nX-Other: X-Delay: 5\r\n"
            b"Content-Length: 14\r\n\r\nx-delay: 10s\r\n"
        )
    found = recorder.requests[0].fields
    assert found.get(b"x-call-id") == b"1"
    assert b"x-delay" not in found
