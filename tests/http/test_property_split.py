"""Any split of any valid message over reads gives the same parse, on the server and in the client."""

from __future__ import annotations

from dataclasses import dataclass, field

import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faasd_py.http.chunked import Dechunker
from faasd_py.http.collect import Collector

from .support import Recorder, Wire, pooled, serve, upstream

SETTINGS = settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCXYZ0123456789!#$%&'*+-.^_`|~", min_size=1, max_size=12).map(
    str.encode
)
VALUE = st.binary(max_size=24).map(
    lambda raw: bytes(b for b in raw if b in b"\t " or 0x21 <= b != 0x7F).strip(b" \t")
)
PATH = st.text("abc/._-~%20?&=;:@!$'()*+,", max_size=20).map(lambda text: b"/" + text.encode())
BODY = st.one_of(
    st.just(b""),
    st.binary(max_size=40),
    st.binary(min_size=400, max_size=2000),
    st.just(b"\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n"),
)
METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"])
SPACE = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t"])
RESERVED = {
    b"host", b"content-length", b"transfer-encoding", b"connection", b"keep-alive", b"te", b"trailer", b"upgrade", b"expect",
    b"proxy-connection", b"proxy-authenticate", b"proxy-authorization",
}  # fmt: skip


@dataclass(frozen=True)
class Message:
    """A message as it is meant, and one way of writing it."""

    method: bytes
    target: bytes
    lines: bytes
    body: bytes
    raw: bytes = field(repr=False)
    whole: bool
    """It has a body (of whatever length) that is framed."""


@st.composite
def chunked(draw: st.DrawFn, body: bytes) -> bytes:
    """Any way to write a body in chunks."""
    raw, left = b"", body
    while left:
        size = draw(st.integers(1, len(left)))
        extension = draw(st.sampled_from([b"", b"", b";x", b";name=value", b';n="q;uoted"']))
        digits = draw(st.sampled_from([b"%x", b"%X", b"%04x"])) % size
        raw += digits + extension + b"\r\n" + left[:size] + b"\r\n"
        left = left[size:]
    trailer = draw(st.sampled_from([b"", b"", b"X-Sum: 1\r\n", b"X-A: 1\r\nX-B:2\r\n"]))
    return raw + draw(st.sampled_from([b"0", b"000", b"0;last"])) + b"\r\n" + trailer + b"\r\n"


@st.composite
def field_lines(draw: st.DrawFn) -> bytes:
    """Some end-to-end fields, as they may come."""
    names = draw(st.lists(TOKEN.filter(lambda name: name.lower() not in RESERVED), max_size=5))
    return b"".join(name + b":" + draw(SPACE) + draw(VALUE) + draw(SPACE) + b"\r\n" for name in names)


@st.composite
def framed(draw: st.DrawFn, body: bytes) -> tuple[bytes, bytes]:
    """A framing field and the body in it."""
    if draw(st.booleans()):
        return b"Transfer-Encoding: chunked\r\n", draw(chunked(body))
    return b"Content-Length: %d\r\n" % len(body), body


@st.composite
def requests(draw: st.DrawFn) -> Message:
    """One valid request."""
    method, target, lines, body = draw(METHOD), draw(PATH), draw(field_lines()), draw(BODY)
    if not body and draw(st.booleans()):
        framing, wire_body, whole = b"", b"", False
    else:
        framing, wire_body = draw(framed(body))
        whole = True
    host = b"Host: a.example\r\n"
    head = host + lines + framing if draw(st.booleans()) else framing + lines + host
    blank = draw(st.sampled_from([b"", b"", b"", b"\r\n"]))
    raw = blank + method + b" " + target + b" HTTP/1.1\r\n" + head + b"\r\n" + wire_body
    return Message(method, target, lines, body, raw, whole)


@st.composite
def answers(draw: st.DrawFn) -> Message:
    """One valid answer; its status stands in `target`."""
    status, lines, body = draw(st.sampled_from([200, 201, 404, 500])), draw(field_lines()), draw(BODY)
    framing, wire_body = draw(framed(body))
    interim = draw(
        st.sampled_from(
            [b"", b"", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"]
        )
    )
    reason = draw(st.sampled_from([b" OK", b" ", b" Some Reason"]))
    raw = interim + b"HTTP/1.1 %d" % status + reason + b"\r\n" + lines + framing + b"\r\n" + wire_body
    return Message(b"", b"%d" % status, lines, body, raw, whole=True)


@st.composite
def split(draw: st.DrawFn, raw: bytes) -> list[bytes]:
    """`raw` in pieces: cut anywhere, or byte by byte if it is short."""
    if len(raw) < 300 and draw(st.integers(0, 9)) == 0:
        return [raw[at : at + 1] for at in range(len(raw))]
    cuts = sorted(draw(st.sets(st.integers(0, len(raw)), max_size=12)))
    return [
        piece for piece in (raw[a:b] for a, b in zip([0, *cuts], [*cuts, len(raw)], strict=True)) if piece
    ]


async def send_apart(wire: Wire, pieces: list[bytes]) -> None:
    """Each piece is read before the next one is sent."""
    for piece in pieces:
        await wire.send(piece)
        await trio.testing.wait_all_tasks_blocked()


def end_to_end(headers: bytes) -> list[bytes]:
    """The lines without the framing field, which may be spelt either way."""
    return [
        line for line in headers.split(b"\r\n") if line and not line.lower().startswith(b"content-length:")
    ]


async def served(pieces: list[bytes], count: int) -> Recorder:
    """What a server makes of the pieces."""
    recorder = Recorder()
    async with serve(recorder) as server:
        wire = await server.open()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_apart, wire, pieces)
            for n in range(count):
                assert (await wire.answer()).body == b"%d" % (n + 1)
        assert not wire.buffer
    return recorder


@SETTINGS
@given(st.data(), st.lists(requests(), min_size=1, max_size=3))
def test_requests_are_the_same_however_they_are_split(data: st.DataObject, messages: list[Message]) -> None:
    """Method, target, fields, body and order do not depend on where a read ends."""
    pieces = data.draw(split(b"".join(message.raw for message in messages)))
    recorder = trio.run(served, pieces, len(messages))
    for seen, meant in zip(recorder.requests, messages, strict=True):
        assert (seen.method, seen.target, seen.host, seen.body) == (
            meant.method,
            meant.target,
            b"a.example",
            meant.body,
        )
        assert end_to_end(seen.headers) == end_to_end(meant.lines)
        assert seen.length in (None, len(meant.body))


async def asked(batches: list[list[bytes]]) -> list[Collector]:
    """What the pool makes of answers in pieces; all on one connection."""

    async def script(wire: Wire, n: int) -> None:
        for pieces in batches:
            await wire.until(b"\r\n\r\n")
            await send_apart(wire, pieces)
        await wire.rest()

    replies = []
    async with upstream(script) as peer, pooled(peer) as pool:
        for _ in batches:
            reply = Collector(1 << 20)
            await pool.request(b"GET", b"/", b"Host: a\r\n", b"", 0, None, reply)
            replies.append(reply)
        assert peer.connections == 1
    return replies


@SETTINGS
@given(st.data(), st.lists(answers(), min_size=1, max_size=3))
def test_answers_are_the_same_however_they_are_split(data: st.DataObject, messages: list[Message]) -> None:
    """The same for status, fields and body on the client's side."""
    replies = trio.run(asked, [data.draw(split(message.raw)) for message in messages])
    for reply, meant in zip(replies, messages, strict=True):
        assert (reply.status, reply.body, reply.complete) == (int(meant.target), meant.body, True)
        assert end_to_end(reply.headers) == end_to_end(meant.lines)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.data(), BODY, st.binary(max_size=20))
def test_chunks_are_the_same_however_they_are_split(data: st.DataObject, body: bytes, behind: bytes) -> None:
    """The pure decoder: the same body, and every byte behind it is kept."""
    raw = data.draw(chunked(body)) + behind
    decoder, found, rest = Dechunker(), b"", b""
    for piece in data.draw(split(raw)):
        if decoder.done:
            rest += piece
        else:
            found += decoder.feed(piece)
    assert (decoder.done, found, decoder.rest + rest) == (True, body, behind)
