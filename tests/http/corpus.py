"""Several hundred requests that two readers could read differently, each with what it means to us, if anything.

A case is the bytes a client sends and the requests a strict reader finds in them. `meant` None: it must be refused
and nothing of it may reach the peer as a complete request.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

Meant = tuple[bytes, bytes, bytes]
"""Method, target and body of one request."""

EVIL = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"
HELLO: Meant = (b"POST", b"/p", b"hello")
EMPTY: Meant = (b"POST", b"/p", b"")
PLAIN: Meant = (b"GET", b"/p", b"")
WRAPPED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(EVIL), EVIL)


@dataclass(frozen=True)
class Case:
    """One client, one connection."""

    name: str
    raw: bytes
    meant: tuple[Meant, ...] | None


def refused(name: str, raw: bytes) -> Case:
    return Case(name, raw, None)


def good(name: str, raw: bytes, *meant: Meant) -> Case:
    return Case(name, raw, meant)


BAD_LENGTHS = [
    b"+5", b"-5", b"-0", b"0x5", b"5 5", b"5,6", b"5;", b"5.0", b"1e1", b"", b"\x0b5", b"5\x0c", b"five", b"5_0", b"0b1",
    b"\xd9\xa5", b"9" * 20, b"18446744073709551621", b"5\x00", b"'5'", b'"5"', b"5,", b",5", b"5\r\n 6", b"\x855", b"NaN",
]  # fmt: skip

BAD_CODINGS = [
    b"xchunked", b"chunkedx", b"identity", b"gzip", b"deflate", b"cow", b"identity, chunked", b"chunked, identity",
    b"gzip, chunked", b"chunked, chunked", b"chunked;q=1", b'"chunked"', b"'chunked'", b"\x0bchunked", b"\x0cchunked",
    b"chu nked", b"chu\tnked", b"chunked\x00", b"\x00chunked", b"", b"chunked\x0b", b"\xffchunked", b"chunked\xa0", b"[chunked]",
    b"\r\n chunked", b"x\r\n\tchunked", b"chunked\r\n x", b"chunked;", b"chunked=1", b"x;y=chunked", b"chunked, cow", b"cow, chunked",
]  # fmt: skip

NAMES_LIKE_LENGTH = [
    b"Content-Length ", b"Content-Length\t", b" Content-Length", b"\tContent-Length", b"Content-Length\x00", b"\x00Content-Length",
    b"Content-Length\x0b", b"Content\r-Length", b"Content-\nLength", b"Content-Length\r", b"Content Length", b'"Content-Length"',
    b"(Content-Length)", b"Content-Length:", b"Content-Length\xa0", b"\xa0Content-Length", b"Content-Length\x85", b"Content\xadLength",
]  # fmt: skip

NAMES_LIKE_CODING = [
    name.replace(b"Content", b"Transfer").replace(b"Length", b"Encoding") for name in NAMES_LIKE_LENGTH
]

UNKNOWN_NAMES = [
    b"Content_Length",
    b"ContentLength",
    b"X-Content-Length",
    b"Content-Length-X",
    b"Content-Length_",
    b"Content.Length",
]


def lengths_and_codings() -> Iterator[Case]:
    """Content-Length and Transfer-Encoding, alone and together, in both orders."""
    for value in BAD_LENGTHS:
        line = b"Content-Length: " + value + b"\r\n"
        yield refused(f"length {value!r}", POST + line + b"\r\nhello" + EVIL)
        yield refused(f"length {value!r} then 5", POST + line + b"Content-Length: 5\r\n\r\nhello" + EVIL)
        yield refused(
            f"length 5 then {value!r}", POST + b"Content-Length: 5\r\n" + line + b"\r\nhello" + EVIL
        )
        yield refused(
            f"length {value!r} and chunked", POST + line + b"Transfer-Encoding: chunked\r\n\r\n" + WRAPPED
        )
    for value in BAD_CODINGS:
        line = b"Transfer-Encoding: " + value + b"\r\n"
        yield refused(f"coding {value!r}", POST + line + b"\r\n" + WRAPPED)
        yield refused(
            f"coding {value!r} then length", POST + line + b"Content-Length: 5\r\n\r\n0\r\n\r\n" + EVIL
        )
        yield refused(
            f"length then coding {value!r}", POST + b"Content-Length: 5\r\n" + line + b"\r\n0\r\n\r\n" + EVIL
        )
        yield refused(
            f"coding {value!r} then chunked", POST + line + b"Transfer-Encoding: chunked\r\n\r\n" + WRAPPED
        )
        yield refused(
            f"coding chunked then {value!r}",
            POST + b"Transfer-Encoding: chunked\r\n" + line + b"\r\n" + WRAPPED,
        )


def names() -> Iterator[Case]:
    """Names that one reader takes for a framing field and another does not."""
    for name in NAMES_LIKE_LENGTH:
        yield refused(f"name {name!r}", POST + name + b": %d\r\n\r\n" % len(EVIL) + EVIL)
        yield refused(
            f"name {name!r} after a length", POST + b"Content-Length: 5\r\n" + name + b": 0\r\n\r\nhello"
        )
        yield refused(f"name {name!r} first", b"POST /p HTTP/1.1\r\n" + name + b": 5\r\nHost: a\r\n\r\nhello")
    for name in NAMES_LIKE_CODING:
        yield refused(f"name {name!r}", POST + name + b": chunked\r\n\r\n" + WRAPPED)
        yield refused(
            f"name {name!r} after a length",
            POST + b"Content-Length: 5\r\n" + name + b": chunked\r\n\r\n0\r\n\r\n" + EVIL,
        )
    for name in UNKNOWN_NAMES:
        yield good(f"unknown name {name!r}", POST + name + b": 99\r\nContent-Length: 5\r\n\r\nhello", HELLO)


BREAKS = [
    b"\n",
    b"\r",
    b"\r\r\n",
    b"\n\r",
    b"\x0b",
    b"\x0c",
    b"\x85",
    b"\xc2\x85",
    b"\xe2\x80\xa8",
    b"\x00",
    b"\r\x00\n",
    b"\x1c",
    b"\x1e",
]
HARMLESS_BREAKS = {b"\x85", b"\xc2\x85", b"\xe2\x80\xa8"}
"""obs-text: bytes of a value to RFC 9110, a line end to some Unicode-aware readers."""


def line_ends() -> Iterator[Case]:
    """A field hidden behind something that some readers take for a line end."""
    for mark in BREAKS:
        hidden = POST + b"X-A: b" + mark + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello"
        yield (
            good(f"break {mark!r}", hidden, HELLO)
            if mark in HARMLESS_BREAKS
            else refused(f"break {mark!r}", hidden)
        )
        if mark not in HARMLESS_BREAKS:
            yield refused(
                f"break {mark!r} in the target", b"GET /p" + mark + b"X HTTP/1.1\r\nHost: a\r\n\r\n"
            )
            yield refused(f"break {mark!r} ends the head", b"GET /p HTTP/1.1\r\nHost: a\r\n" + mark + EVIL)
            yield refused(
                f"break {mark!r} after the version", b"GET /p HTTP/1.1" + mark + b"X: 1\r\nHost: a\r\n\r\n"
            )
            yield refused(
                f"break {mark!r} for the last CRLF", b"GET /p HTTP/1.1\r\nHost: a" + mark + mark + EVIL
            )
    yield good("empty lines first", b"\r\n\r\nGET /p HTTP/1.1\r\nHost: a\r\n\r\n", PLAIN)


TARGETS = [
    b"http://a/p", b"http://b/p", b"HTTP://a/p", b"http:a", b"//", b"a/p", b"*", b"?x", b"#x", b"/p#x", b"a:80", b"http://a@b/p",
    b"\\p", b"/p HTTP/1.1", b"/p\tHTTP/1.1", b"/\x7f", b"/\x01", b"",
]  # fmt: skip
LINES = [
    b"GET  /p HTTP/1.1", b"GET /p  HTTP/1.1", b"GET\t/p HTTP/1.1", b" GET /p HTTP/1.1", b"GET /p HTTP/1.1 ", b"GET /p HTTP/1.1\t",
    b"GET /p", b"GET /p HTTP/1", b"GET /p HTTP/1.", b"GET /p HTTP/.1", b"GET /p HTTP/11", b"GET /p HTTP/1.1.1", b"GET /p HTTP/2.0",
    b"GET /p HTTP/0.9", b"GET /p HTTP/1.2", b"GET /p HTTP/1.11", b"GET /p http/1.1", b"GET /p HTTPS/1.1", b"GET /p HTTP /1.1",
    b"GET /p HTTP/1,1", b"GET /p ICY", b"get /p HTTP/1.1", b"GET\x00 /p HTTP/1.1", b"G\xc9T /p HTTP/1.1", b"GET/p HTTP/1.1",
    b"PRI * HTTP/2.0", b"CONNECT a:80 HTTP/1.1", b"CONNECT /p HTTP/1.1",
]  # fmt: skip


def request_lines() -> Iterator[Case]:
    """Targets and request lines that move the borders of method, target and version."""
    for target in TARGETS:
        raw = b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n"
        yield (
            good(f"target {target!r}", raw, (b"GET", target, b""))
            if target == b"//"
            else refused(f"target {target!r}", raw)
        )
    for line in LINES:
        yield refused(f"line {line!r}", line + b"\r\nHost: a\r\n\r\n" + EVIL)


BAD_SIZES = [
    b"", b"g", b"0x5", b"+5", b"-5", b" 5", b"5 ", b"\t5", b"5\t", b"5 ;x", b"5\x00", b"5,5", b"5_", b"5.0", b"\x0b5", b"5\x0b", b"5\xa0",
    b"10000000000000005", b"f" * 17, b"ffffffffffffffff", b"5\rx", b"5;a\rb", b"5;\nx", b"5\nx", b"5;a\x00b", b'5;"\n"',
]  # fmt: skip
BAD_TAILS = [
    b"0\n\n", b"0\r\n\n", b"0\n\r\n", b"0\r\r\n", b"-0\r\n\r\n", b"0x0\r\n\r\n", b" 0\r\n\r\n", b"0 \r\n\r\n", b"0;\n\r\n", b"0\r\n \r\n",
    b"0\r\nX-A : 1\r\n\r\n", b"0\r\nX A: 1\r\n\r\n", b"0\r\nX-A\r\n\r\n", b"0\r\nX-A: 1\n\r\n", b"0\r\nX-A: a\r\n b\r\n\r\n", b"0\r\n: 1\r\n\r\n",
    b"0\r\nX-A: \x00\r\n\r\n", b"0\r\n\r\r\n",
]  # fmt: skip
GOOD_TAILS = [b"0\r\n\r\n", b"000\r\n\r\n", b"0;x\r\n\r\n", b'0;x="y"\r\n\r\n', b"0\r\nX-Sum: 1\r\n\r\n"]
TRAILERS_OF_FRAMING = [b"Content-Length: 99", b"Transfer-Encoding: chunked", b"Host: b", b"Connection: close"]
DATA_ENDS = [b"\n", b"\r", b"", b"XX", b"\r\r\n", b"\n\r", b"\r\n\r\n", b" \r\n"]


def chunks() -> Iterator[Case]:
    """Chunk sizes, ends and trailers, with a request in each place that a lax reader would find one."""
    head = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    for size in BAD_SIZES:
        yield refused(f"size {size!r}", head + size + b"\r\nhello\r\n0\r\n\r\n" + EVIL)
        yield refused(
            f"second size {size!r}", head + b"5\r\nhello\r\n" + size + b"\r\nhello\r\n0\r\n\r\n" + EVIL
        )
    for end in DATA_ENDS:
        yield refused(f"data end {end!r}", head + b"5\r\nhello" + end + b"0\r\n\r\n" + EVIL)
    for tail in BAD_TAILS:
        yield refused(f"tail {tail!r}", head + b"5\r\nhello\r\n" + tail + EVIL)
    for tail in GOOD_TAILS:
        yield good(f"tail {tail!r}", head + b"5\r\nhello\r\n" + tail, HELLO)
    for line in TRAILERS_OF_FRAMING:
        yield good(f"trailer {line!r}", head + b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n", HELLO)
    yield good("a request inside a chunk", head + WRAPPED, (b"POST", b"/p", EVIL))
    yield good("an end inside a chunk", head + b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", (b"POST", b"/p", b"0\r\n\r\n"))
    yield good("extension with a size", head + b"5;0\r\nhello\r\n0\r\n\r\n", HELLO)


HOSTS = [
    b"", b"Host: a\r\nHost: a\r\n", b"Host: a\r\nHost: b\r\n", b"Host: a\r\nhost: b\r\n", b"Host: a b\r\n", b"Host: a/b\r\n",
    b"Host: u@a\r\n", b"Host : a\r\n", b" Host: a\r\n", b"Host: a\r\n b\r\n", b"Host: a\x00\r\n", b"Host: a\\b\r\n", b"Host: a#b\r\n",
    b"Host: a?b\r\n", b"Host: a\r\n Host: b\r\n", b"X: 1\nHost: b\r\nHost: a\r\n", b"Host\x00: a\r\n", b"Host: a\tb\r\n", b"Host: <a>\r\n",
]  # fmt: skip


def hosts() -> Iterator[Case]:
    """No host, several, or what is no host."""
    for lines in HOSTS:
        yield refused(f"host {lines!r}", b"GET /p HTTP/1.1\r\n" + lines + b"X-B: 1\r\n\r\n")


NOMINATED = [
    b"Content-Length",
    b"Host",
    b"content-length, host",
    b"Transfer-Encoding",
    b"close, Content-Length",
    b",,Host,,",
]
LATER = [
    b"Connection: close", b"Connection: keep-alive", b"Connection: keep-alive, close", b"Keep-Alive: 5", b"Proxy-Connection: close",
    b"Upgrade: websocket", b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nConnection: HTTP2-Settings", b"Connection: upgrade",
    b"TE: chunked", b"TE: trailers, chunked;q=0.5", b"Trailer: Content-Length", b"Expect: 100-Continue", b"Range: bytes=0-1",
    b"X-HTTP-Method-Override: DELETE", b"Content-Encoding: chunked", b"Max-Forwards: 0", b"X-Forwarded-Host: b", b"X-Original-URL: /evil",
]  # fmt: skip


def hop_by_hop() -> Iterator[Case]:
    """Fields about the connection must not change what is framed, forwarded or kept."""
    for names_ in NOMINATED:
        yield good(
            f"connection {names_!r}",
            POST + b"Connection: " + names_ + b"\r\nContent-Length: 5\r\n\r\nhello",
            HELLO,
        )
        yield good(
            f"connection {names_!r} with a request in the body",
            POST + b"Connection: " + names_ + b"\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL,
            (b"POST", b"/p", EVIL),
        )
        yield good(
            f"connection {names_!r} chunked",
            POST + b"Connection: " + names_ + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + WRAPPED,
            (b"POST", b"/p", EVIL),
        )
    for line in LATER:
        yield good(
            f"with {line!r}",
            POST + line + b"\r\nContent-Length: %d\r\n\r\n" % len(EVIL) + EVIL,
            (b"POST", b"/p", EVIL),
        )
        yield good(
            f"chunked with {line!r}",
            POST + line + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + WRAPPED,
            (b"POST", b"/p", EVIL),
        )


def old_versions() -> Iterator[Case]:
    """HTTP/1.0 knows no chunks (RFC 9112 §6.1)."""
    yield refused(
        "1.0 with chunked", b"POST /p HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + WRAPPED
    )
    yield refused(
        "1.0 keep-alive with chunked",
        b"POST /p HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n"
        + WRAPPED,
    )
    yield good("1.0 with a length", b"POST /p HTTP/1.0\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", HELLO)
    yield good("1.0 without a length", b"GET /p HTTP/1.0\r\nHost: a\r\n\r\n", PLAIN)


def cases() -> list[Case]:
    """All of them."""
    return [
        *lengths_and_codings(), *names(), *line_ends(), *request_lines(), *chunks(), *hosts(), *hop_by_hop(), *old_versions(),
    ]  # fmt: skip
