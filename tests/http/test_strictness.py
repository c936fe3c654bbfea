"""What the server refuses, by which status, and that no handler ever sees it."""

from __future__ import annotations

import pytest

from .support import Recorder, limits, serve

GET = b"GET / HTTP/1.1\r\nHost: a\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"

BAD_FIELDS = {
    "space before the colon": b"X-A : 1\r\n",
    "tab before the colon": b"X-A\t: 1\r\n",
    "no name": b": 1\r\n",
    "no colon": b"X-A\r\n",
    "space in the name": b"X A: 1\r\n",
    "parenthesis in the name": b"X(A): 1\r\n",
    "quote in the name": b'"X": 1\r\n',
    "slash in the name": b"X/A: 1\r\n",
    "NUL in the name": b"X\x00A: 1\r\n",
    "high byte in the name": b"X\xc3\xa9: 1\r\n",
    "vertical tab in the name": b"X\x0bA: 1\r\n",
    "NUL in the value": b"X-A: a\x00b\r\n",
    "bare CR in the value": b"X-A: a\rb\r\n",
    "CR before CRLF": b"X-A: a\r\r\n",
    "bell in the value": b"X-A: a\x07b\r\n",
    "escape in the value": b"X-A: \x1b[2J\r\n",
    "DEL in the value": b"X-A: a\x7fb\r\n",
    "bare LF ends the line": b"X-A: a\n",
    "obs-fold by space": b"X-A: a\r\n b\r\n",
    "obs-fold by tab": b"X-A: a\r\n\tb\r\n",
    "obs-fold of nothing": b"X-A: a\r\n \r\n",
}

BAD_FRAMING = {
    "differing lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n",
    "differing lengths in a list": b"Content-Length: 5, 6\r\n",
    "length and chunked": b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "chunked and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "plus": b"Content-Length: +5\r\n",
    "minus": b"Content-Length: -5\r\n",
    "hexadecimal": b"Content-Length: 0x5\r\n",
    "words": b"Content-Length: five\r\n",
    "empty": b"Content-Length: \r\n",
    "fraction": b"Content-Length: 5.0\r\n",
    "exponent": b"Content-Length: 1e1\r\n",
    "two numbers": b"Content-Length: 5 5\r\n",
    "underscore": b"Content-Length: 1_0\r\n",
    "over 64 bits": b"Content-Length: 18446744073709551621\r\n",
    "far over 64 bits": b"Content-Length: " + b"9" * 40 + b"\r\n",
    "length before a space and colon": b"Content-Length : 5\r\n",
    "coding before a space and colon": b"Transfer-Encoding : chunked\r\n",
    "unknown coding": b"Transfer-Encoding: cow\r\n",
    "identity": b"Transfer-Encoding: identity\r\n",
    "gzip only": b"Transfer-Encoding: gzip\r\n",
    "gzip then chunked": b"Transfer-Encoding: gzip, chunked\r\n",
    "chunked then gzip": b"Transfer-Encoding: chunked, gzip\r\n",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n",
    "chunked in two lines": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "chunked then identity in two lines": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "identity then chunked in two lines": b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "xchunked": b"Transfer-Encoding: xchunked\r\n",
    "chunked with a parameter": b"Transfer-Encoding: chunked;q=1\r\n",
    "quoted chunked": b'Transfer-Encoding: "chunked"\r\n',
    "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
    "empty coding": b"Transfer-Encoding: \r\n",
    "folded coding": b"Transfer-Encoding:\r\n chunked\r\n",
}

BAD_HOSTS = {
    "missing": b"",
    "twice the same": b"Host: a\r\nHost: a\r\n",
    "twice": b"Host: a\r\nHost: b\r\n",
    "twice in another case": b"Host: a\r\nhOST: a\r\n",
    "twice with a field between": b"Host: a\r\nX-A: 1\r\nHost: b\r\n",
    "a space inside": b"Host: a b\r\n",
    "a list": b"Host: a, b\r\n",
    "a path": b"Host: a/b\r\n",
    "user information": b"Host: u@a\r\n",
    "a query": b"Host: a?b\r\n",
    "a fragment": b"Host: a#b\r\n",
    "a space before the colon": b"Host : a\r\n",
    "a quote": b'Host: "a"\r\n',
    "a backslash": b"Host: a\\b\r\n",
}

BAD_REQUEST_LINES = {
    "absolute-form": b"GET http://a/ HTTP/1.1",
    "absolute-form of another host": b"GET http://b/x HTTP/1.1",
    "absolute-form https": b"GET https://a/ HTTP/1.1",
    "authority-form": b"CONNECT a:80 HTTP/1.1",
    "authority-form by GET": b"GET a:80 HTTP/1.1",
    "asterisk by GET": b"GET * HTTP/1.1",
    "relative": b"GET x HTTP/1.1",
    "no target": b"GET HTTP/1.1",
    "empty target": b"GET  HTTP/1.1",
    "two spaces": b"GET  / HTTP/1.1",
    "two spaces before the version": b"GET /  HTTP/1.1",
    "space in the target": b"GET /a b HTTP/1.1",
    "space at the end": b"GET / HTTP/1.1 ",
    "space at the start": b" GET / HTTP/1.1",
    "tab for space": b"GET\t/\tHTTP/1.1",
    "tab in the target": b"GET /a\tb HTTP/1.1",
    "NUL in the target": b"GET /a\x00b HTTP/1.1",
    "CR in the target": b"GET /a\rb HTTP/1.1",
    "DEL in the target": b"GET /a\x7fb HTTP/1.1",
    "fragment in the target": b"GET /a#b HTTP/1.1",
    "no version": b"GET /",
    "HTTP/0.9": b"GET / HTTP/0.9",
    "HTTP/2.0": b"GET / HTTP/2.0",
    "HTTP/3": b"GET / HTTP/3",
    "HTTP/1.2": b"GET / HTTP/1.2",
    "HTTP/1.10": b"GET / HTTP/1.10",
    "HTTP/01.1": b"GET / HTTP/01.1",
    "lower-case version": b"GET / http/1.1",
    "another protocol": b"GET / RTSP/1.0",
    "lower-case method": b"get / HTTP/1.1",
    "method that does not exist": b"BREW / HTTP/1.1",
    "HTTP/2 preface method": b"PRI * HTTP/2.0",
    "long method": b"G" * 300 + b" / HTTP/1.1",
    "colon in the method": b"GE:T / HTTP/1.1",
    "TLS client hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "an ssh client": b"SSH-2.0-OpenSSH_9.2",
    "only NULs": b"\x00" * 40,
}

BAD_ENDINGS = {
    "request line by LF": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "request line by CR": b"GET / HTTP/1.1\rHost: a\r\n\r\n",
    "all by LF": b"GET / HTTP/1.1\nHost: a\n\n",
    "last line by LF": b"GET / HTTP/1.1\r\nHost: a\r\n\n",
    "field by LF": b"GET / HTTP/1.1\r\nHost: a\n\r\n",
    "field by CR": b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n",
    "CR CR LF at the end": b"GET / HTTP/1.1\r\nHost: a\r\n\r\r\n",
    "space before the first field": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "LF before the request line": b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "white line before the fields": b"GET / HTTP/1.1\r\n \r\nHost: a\r\n\r\n",
}


async def refusal(raw: bytes, **bounds: float) -> int:
    """The status by which `raw` is refused; the handler saw nothing."""
    recorder = Recorder()
    async with serve(recorder, limits(**bounds)) as served:
        wire = await served.open()
        await wire.send(raw)
        answer = await wire.refused()
    assert recorder.requests == []
    return answer.status


@pytest.mark.parametrize("line", BAD_FIELDS.values(), ids=BAD_FIELDS)
async def test_a_bad_field_line_is_400(line: bytes) -> None:
    """A field line that is not by the letter of RFC 9112 §5 is refused."""
    assert await refusal(GET + line + b"\r\n") == 400


@pytest.mark.parametrize("line", BAD_FIELDS.values(), ids=BAD_FIELDS)
async def test_a_bad_field_line_is_400_among_good_ones(line: bytes) -> None:
    """Wherever the bad line stands."""
    assert await refusal(b"GET / HTTP/1.1\r\nX-First: 1\r\n" + line + b"X-Last: 2\r\nHost: a\r\n\r\n") == 400


@pytest.mark.parametrize("lines", BAD_FRAMING.values(), ids=BAD_FRAMING)
async def test_unclear_framing_is_refused(lines: bytes) -> None:
    """400, 413 for a length that nobody can hold, or 501 for a coding that we do not know (RFC 9112 §6)."""
    assert await refusal(POST + lines + b"\r\nhello") in (400, 413, 501)


@pytest.mark.parametrize("lines", BAD_HOSTS.values(), ids=BAD_HOSTS)
async def test_a_bad_host_is_400(lines: bytes) -> None:
    """RFC 9112 §3.2: no Host, more than one, or a value that is no host."""
    assert await refusal(b"GET / HTTP/1.1\r\n" + lines + b"X-B: 2\r\n\r\n") == 400


@pytest.mark.parametrize("line", BAD_REQUEST_LINES.values(), ids=BAD_REQUEST_LINES)
async def test_a_bad_request_line_is_refused(line: bytes) -> None:
    """400, 405, 501 or 505, before anything else is looked at (RFC 9112 §3)."""
    assert await refusal(line + b"\r\nHost: a\r\n\r\n") in (400, 405, 501, 505)


@pytest.mark.parametrize("raw", BAD_ENDINGS.values(), ids=BAD_ENDINGS)
async def test_lines_end_in_crlf_only(raw: bytes) -> None:
    """RFC 9112 §2.2 lets a server take a bare LF; ours does not."""
    assert await refusal(raw) == 400


@pytest.mark.parametrize("start", [b"\r", b"\r\n\r", b"\r\r\n"])
async def test_a_bare_cr_before_the_request_line_is_400(start: bytes) -> None:
    """Blank lines are CRLF; a bare CR is answered like any other garbage."""
    assert await refusal(start + GET + b"\r\n") == 400


@pytest.mark.parametrize("cut", [1, 3, 16, 17, 20])
async def test_a_bad_byte_is_refused_however_it_was_split(cut: int) -> None:
    """The refusal does not depend on where a read ends."""
    raw = b"GET / HTTP/1.1\r\nHost: a\r\nX-A : 1\r\n\r\n"
    recorder = Recorder()
    async with serve(recorder) as served:
        wire = await served.open()
        await wire.send(raw[:cut], raw[cut:])
        assert (await wire.refused()).status == 400
    assert recorder.requests == []


async def test_what_follows_a_refused_request_is_not_read() -> None:
    """A good request behind a bad one on the same connection is never served."""
    recorder = Recorder()
    async with serve(recorder) as served:
        wire = await served.open()
        await wire.send(GET + b"X-A : 1\r\n\r\n" + GET + b"\r\n")
        await wire.refused()
    assert recorder.requests == []


async def test_a_head_over_the_limit_is_431() -> None:
    """RFC 6585 §5, also when the head has no end."""
    assert await refusal(GET + b"X-A: " + b"a" * 3000 + b"\r\n\r\n", max_head=2048) == 431
    assert await refusal(GET + b"X-A: " + b"a" * 3000, max_head=2048) == 431


async def test_a_target_over_the_limit_is_414_or_431() -> None:
    """RFC 9110 §15.5.15: a target that fills the head by itself."""
    assert await refusal(b"GET /" + b"a" * 3000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", max_head=2048) in (
        414,
        431,
    )
    assert await refusal(b"GET /" + b"a" * 3000, max_head=2048) in (414, 431)


async def test_too_many_fields_are_431() -> None:
    """`max_headers` counts lines, Host among them."""
    assert await refusal(GET + b"a:b\r\n" * 10 + b"\r\n", max_headers=10) == 431


async def test_exactly_the_limit_of_fields_is_served() -> None:
    """A limit is the last number that is allowed."""
    recorder = Recorder()
    async with serve(recorder, limits(max_headers=10)) as served:
        assert (await served.ask(GET + b"a:b\r\n" * 9 + b"\r\n")).status == 200
    assert len(recorder.requests) == 1


async def test_an_endless_request_line_is_cut() -> None:
    """A client that never ends its line is answered and cut while it still sends."""
    recorder = Recorder()
    async with serve(recorder, limits(max_head=4096)) as served:
        wire = await served.open()
        await wire.send(b"A" * 8192)
        assert (await wire.answer()).status in (400, 414, 431, 501)
    assert recorder.requests == []


STRANGE_BUT_GOOD = {
    "empty lines first": (b"\r\n\r\n" + GET + b"\r\n", b"/"),
    "no space after the colon": (b"GET / HTTP/1.1\r\nHost:a\r\nX-A:1\r\n\r\n", b"/"),
    "tabs around a value": (b"GET / HTTP/1.1\r\nHost: \ta\t \r\n\r\n", b"/"),
    "an empty value": (GET + b"X-A:\r\n\r\n", b"/"),
    "high bytes in a value": (GET + b"X-A: caf\xc3\xa9\r\n\r\n", b"/"),
    "every token character": (GET + b"!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n", b"/"),
    "a port": (b"GET / HTTP/1.1\r\nHost: a:8080\r\n\r\n", b"/"),
    "an IPv6 host": (b"GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", b"/"),
    "an underscore in the host": (b"GET / HTTP/1.1\r\nHost: a_b.c-d\r\n\r\n", b"/"),
    "a target with everything": (b"GET /a//b/../%20;p=1?q=a&b=/?:@!$'()*+, HTTP/1.1\r\nHost: a\r\n\r\n", b"/a//b/../%20;p=1?q=a&b=/?:@!$'()*+,"),
    "DELETE": (b"DELETE /x HTTP/1.1\r\nHost: a\r\n\r\n", b"/x"),
    "PATCH": (b"PATCH /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", b"/x"),
    "OPTIONS": (b"OPTIONS /x HTTP/1.1\r\nHost: a\r\n\r\n", b"/x"),
    "chunked in capitals": (POST + b"TRANSFER-ENCODING: Chunked\r\n\r\n0\r\n\r\n", b"/"),
    "HTTP/1.0 without Host": (b"GET / HTTP/1.0\r\n\r\n", b"/"),
    "a long length": (POST + b"Content-Length: 0000000000\r\n\r\n", b"/"),
}  # fmt: skip


@pytest.mark.parametrize(("raw", "target"), STRANGE_BUT_GOOD.values(), ids=STRANGE_BUT_GOOD)
async def test_strange_but_good_requests_are_served(raw: bytes, target: bytes) -> None:
    """Strict is not narrow: what the RFC allows goes through."""
    recorder = Recorder()
    async with serve(recorder) as served:
        answer = await served.ask(raw)
    assert (answer.status, answer.body) == (200, b"1")
    assert recorder.requests[0].target == target


SOURCES_OF_A_BAD_ANSWER = [
    b"GET / HTTP/1.1\r\nHost: a\r\nX: <script>\x00\r\n\r\n",
    b"BREW /<script> HTTP/1.1\r\nHost: a\r\n\r\n",
]


@pytest.mark.parametrize("raw", SOURCES_OF_A_BAD_ANSWER)
async def test_a_refusal_repeats_nothing_of_the_request(raw: bytes) -> None:
    """An error body is ours alone: nothing of what came is in it, and it is one short text."""
    async with serve(Recorder()) as served:
        wire = await served.open()
        await wire.send(raw)
        answer = await wire.refused()
    assert b"script" not in answer.body
    assert len(answer.body) < 200
