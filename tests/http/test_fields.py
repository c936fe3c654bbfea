"""The pure parts: header blocks, heads, chunks, status lines, the Date line."""

from __future__ import annotations

import itertools
import re
from email.utils import parsedate_to_datetime

import httptools
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from faasd_py.http import fields
from faasd_py.http.answer import AnswerHead
from faasd_py.http.chunked import LAST_CHUNK, Dechunker, chunk
from faasd_py.http.date import DateLine
from faasd_py.http.errors import BadAnswer, BadChunk, Refused
from faasd_py.http.head import MAX_TARGET, RequestHead, RequestScanner
from faasd_py.http.message import opening
from faasd_py.http.status import STATUS_LINES, one_line, status_line

BLOCK = b"Content-Type: text/plain\r\nX-A: 1\r\nx-a:2\r\nX-Empty:\r\n"
SCANNER = RequestScanner([b"X-Call-Id", b"accept"], 100)


def scanned(head: bytes) -> RequestHead:
    """What the scanner finds in a head."""
    found = RequestHead()
    SCANNER.scan(head, found)
    return found


def test_get_finds_the_first_field_of_a_name_in_any_case() -> None:
    """Names are compared without regard to case; a name inside a value or another name is none."""
    assert fields.get(BLOCK, b"x-A") == b"1"
    assert fields.get(BLOCK, b"content-type") == b"text/plain"
    assert fields.get(BLOCK, b"x-empty") == b""
    assert fields.get(BLOCK, b"type") is None
    assert fields.get(b"X: content-type: a\r\n", b"content-type") is None
    assert fields.get(b"", b"x") is None


def test_get_all_finds_every_field_of_a_name() -> None:
    """In order."""
    assert fields.get_all(BLOCK, b"X-A") == [b"1", b"2"]


def test_without_takes_out_every_field_of_the_names() -> None:
    """What stays keeps its bytes."""
    assert fields.without(BLOCK, b"x-a") == b"Content-Type: text/plain\r\nX-Empty:\r\n"
    assert fields.without(BLOCK, b"x-a", b"X-Empty", b"Content-Type") == b""
    assert fields.without(BLOCK) == BLOCK


def test_missing_from_leaves_out_what_is_there() -> None:
    """Extra lines never repeat a name that the answer has."""
    known = b"\n" + BLOCK.lower()
    assert fields.missing_from(known, b"X-A: 9\r\nX-B: 1\r\n") == b"X-B: 1\r\n"
    assert fields.missing_from(known, b"X-B: 1\r\nB-X-A: 2\r\n") == b"X-B: 1\r\nB-X-A: 2\r\n"
    assert fields.missing_from(known, b"CONTENT-TYPE: a\r\n") == b""
    assert fields.missing_from(known, b"") == b""


def test_tokens_are_lower_case_and_never_empty() -> None:
    """RFC 9110 §5.6.1: empty members are ignored."""
    assert fields.tokens(b" Close , ,Keep-Alive,") == [b"close", b"keep-alive"]


def test_a_cutter_takes_its_names_out_of_a_head() -> None:
    """First, middle and last lines, in any case; all of them leave nothing."""
    cutter = fields.Cutter([b"te", b"connection"])
    head = b"GET / HTTP/1.1\r\nTE: a\r\nX-TE: b\r\nConnection: close\r\nA: te: b\r\nte:\r\n\r\n"
    assert cutter.cut(head, 16) == b"X-TE: b\r\nA: te: b\r\n"
    assert cutter.cut(b"GET / HTTP/1.1\r\nte: a\r\n\r\n", 16) == b""


@given(st.lists(st.tuples(st.sampled_from([b"a", b"B-b", b"TE", b"te", b"Host"]), st.binary(max_size=5))))
def test_a_cutter_and_without_agree(lines: list[tuple[bytes, bytes]]) -> None:
    """Two ways to the same block."""
    block = b"".join(name + b":" + re.sub(rb"[\r\n]", b"", value) + b"\r\n" for name, value in lines)
    head = b"GET / HTTP/1.1\r\n" + block + b"\r\n"
    assert fields.Cutter([b"te", b"host"]).cut(head, 16) == fields.without(block, b"te", b"host")


def test_a_plain_head_is_read() -> None:
    """Method, target, host and length; Host goes, the rest stays as it came."""
    head = scanned(b"POST /a?b=c HTTP/1.1\r\nX: 1\r\nhOst: Fn.test:80 \r\nContent-Length: 7\r\n\r\n")
    assert (head.method, head.target, head.version, head.host) == (b"POST", b"/a?b=c", b"1.1", b"Fn.test:80")
    assert (head.length, head.headers) == (7, b"X: 1\r\nContent-Length: 7\r\n")
    assert (head.keep_alive, head.expects, head.upgrade, head.fields) == (True, False, b"", {})


@pytest.mark.parametrize(
    "lines",
    [b"Hostile: x\r\nHost: a\r\n", b"Host: a\r\nHostile: x\r\n", b"X: Host: b\r\nHOST: a\r\nHostile: x\r\n"],
)
def test_only_the_host_line_goes(lines: bytes) -> None:
    """Not one that begins like it, nor one that has it in its value."""
    head = scanned(b"GET / HTTP/1.1\r\n" + lines + b"\r\n")
    assert head.host == b"a"
    assert head.headers == fields.without(lines, b"host")


def test_wanted_fields_are_at_hand() -> None:
    """By lower-case name, the first value, without white space around it; they stay among the headers."""
    head = scanned(b"GET / HTTP/1.1\r\nHost: a\r\nx-call-ID:  one \r\nX-Call-Id: two\r\n\r\n")
    assert head.fields == {b"x-call-id": b"one"}
    assert head.headers == b"x-call-ID:  one \r\nX-Call-Id: two\r\n"


def test_what_connection_names_goes_no_further() -> None:
    """Neither among the headers nor among the wanted fields; Content-Length is framing and stays."""
    head = scanned(
        b"POST / HTTP/1.1\r\nHost: a\r\nX-Call-Id: 1\r\nX-B: 2\r\nContent-Length: 3\r\n"
        b"Connection: x-call-id, x-b, content-length, close\r\n\r\n"
    )
    assert (head.headers, head.fields, head.length) == (b"Content-Length: 3\r\n", {}, 3)
    assert not head.keep_alive


def test_upgrades_are_asked_for_by_connection_and_never_to_h2c() -> None:
    """RFC 9110 §7.8; behind h2c a peer would speak past every rule here."""
    line = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: %b\r\n\r\n"
    assert scanned(line % b"WebSocket").upgrade == b"websocket"
    assert scanned(line % b"h2c").upgrade == b""
    assert scanned(b"GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n").upgrade == b""


REFUSED = {
    b"GET / HTTP/1.1\r\n\r\n": 400,
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n": 400,
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"GET /#a HTTP/1.1\r\nHost: a\r\n\r\n": 400,
    b"GET /\r\nHost: a\r\n\r\n": 400,
    b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": 400,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n": 501,
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n": 501,
    b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n": 405,
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n": 501,
    b"FROB / HTTP/1.1\r\nHost: a\r\n\r\n": 501,
    b"PRI * HTTP/2.0\r\n\r\n": 505,
    b"GET / HTTP/1.2\r\nHost: a\r\n\r\n": 505,
    b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * MAX_TARGET): 414,
    b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: 1\r\n" * 100 + b"\r\n": 431,
    b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nExpect: tea\r\n\r\n": 417,
}


@pytest.mark.parametrize(("head", "status"), REFUSED.items(), ids=[str(n) for n in range(len(REFUSED))])
def test_heads_are_refused_with_their_status(head: bytes, status: int) -> None:
    """And with one sentence."""
    with pytest.raises(Refused) as caught:
        scanned(head)
    assert caught.value.status == status
    assert "\n" not in caught.value.reason


HEADS = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"POST /x HTTP/1.0\r\nX-Call-Id: 7\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
]


@pytest.mark.parametrize("raw", HEADS)
def test_a_head_that_is_like_another_is_like_it_in_everything(raw: bytes) -> None:
    """What a connection remembers of a head is all that can be asked of it."""
    one, other = scanned(raw), RequestHead()
    other.be_like(one)
    names = [name for name in RequestHead.__annotations__ if name not in {"heads", "expects"}]
    assert {name: getattr(one, name) for name in names} == {name: getattr(other, name) for name in names}


def test_an_answers_head_is_read() -> None:
    """Hop-by-hop fields go, the rest stays as it came."""
    raw = b"HTTP/1.1 201 Made\r\nA: 1\r\nConnection: x-b, close\r\nX-B: 2\r\nContent-Length: 5\r\nKeep-Alive: 1\r\n\r\n"
    head = AnswerHead(raw, b"GET")
    assert (head.status, head.length, head.keep_alive, head.chunked) == (201, 5, False, False)
    assert head.headers == b"A: 1\r\nContent-Length: 5\r\n"
    assert AnswerHead(raw, b"HEAD").length == 0
    assert AnswerHead(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n", b"GET").keep_alive


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: 1\r\n" * 300 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nA: 1\r\n B: 2\r\n\r\n",
    ],
)
def test_a_bad_answers_head_is_refused(raw: bytes) -> None:
    """BadAnswer, whatever is wrong."""
    with pytest.raises(BadAnswer):
        AnswerHead(raw, b"GET")


def test_an_opening_says_where_the_body_ends() -> None:
    """Content-Length for a body at hand without one, chunks for one that is still arriving."""
    assert opening(b"GET", b"/", b"Host: a\r\n", b"", 0, b"") == b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert opening(b"POST", b"/", b"Host: a\r\n", b"hi", None, b"").endswith(
        b"\r\nContent-Length: 2\r\n\r\nhi"
    )
    assert opening(b"POST", b"/", b"", None, None, b"").endswith(b"\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert b"Connection: Upgrade\r\nUpgrade: x\r\n\r\n" in opening(b"GET", b"/", b"", b"", 0, b"x")


def test_status_lines() -> None:
    """Every status has one, known or not."""
    assert STATUS_LINES[200] == b"HTTP/1.1 200 OK\r\n"
    assert STATUS_LINES[799].startswith(b"HTTP/1.1 799 ")
    with pytest.raises(ValueError, match="99 is not"):
        status_line(99)


def test_one_line_of_text() -> None:
    """Its length is in bytes."""
    headers, body = one_line("grün")
    assert body == "grün\n".encode()
    assert headers.endswith(b"Content-Length: 6\r\n")


def test_the_date_line_is_made_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new one when the second is over, and when the clock was set back."""
    now = [1000.5]
    monkeypatch.setattr("faasd_py.http.date.time", lambda: now[0])
    date = DateLine()
    first = date.line()
    assert parsedate_to_datetime(first[6:-2].decode()).timestamp() == 1000
    now[0] = 1000.9
    assert date.line() is first
    now[0] = 1001.0
    assert b":41 GMT" in date.line()
    now[0] = 500.0
    assert parsedate_to_datetime(date.line()[6:-2].decode()).timestamp() == 500


class Heard:
    """What llhttp says about a message."""

    def __init__(self) -> None:
        self.body = b""
        self.complete = 0

    def on_body(self, data: bytes) -> None:
        self.body += data

    def on_message_complete(self) -> None:
        self.complete += 1


def by_llhttp(data: bytes) -> tuple[bytes, int] | None:
    """Body and number of whole messages, None for an error."""
    heard = Heard()
    parser = httptools.HttpRequestParser(heard)
    try:
        parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    except httptools.HttpParserError:
        return None
    return heard.body, heard.complete


PIECES = st.sampled_from(
    [
        b"0",
        b"3",
        b"a",
        b"A",
        b"5",
        b"\r\n",
        b"\r",
        b"\n",
        b";",
        b";x=y",
        b';x="y"',
        b"abc",
        b"X: 1\r\n",
        b" ",
        b"0\r\n\r\n",
        b"3\r\nabc\r\n",
        b"5\r\nhello\r\n",
        b"0\r\n",
        b"\x00",
        b":",
    ]
)


@given(st.lists(PIECES, max_size=12), st.integers(0, 40))
@example([b"0; 0\r\n\r\n"], 0)
def test_a_chunked_body_is_what_llhttp_says_it_is(pieces: list[bytes], cut: int) -> None:
    """What is taken for a whole body is one to llhttp too, with the same bytes; wherever the reads end."""
    data = b"".join(pieces)
    ours, body, taken = Dechunker(), b"", 0
    try:
        for piece in (data[:cut], data[cut:]):
            if not ours.done:
                body += ours.feed(piece)
                taken += len(piece)
    except BadChunk:
        return
    if ours.done:
        assert by_llhttp(data[: taken - len(ours.rest)]) == (body, 1)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6), st.lists(st.integers(0, 300), max_size=5))
def test_what_is_chunked_is_dechunked(pieces: list[bytes], cuts: list[int]) -> None:
    """The way back, in any number of reads, with what follows left over."""
    raw = b"".join(map(chunk, pieces)) + LAST_CHUNK + b"NEXT"
    edges = [0, *sorted(cut for cut in cuts if cut < len(raw)), len(raw)]
    dechunker, body, rest = Dechunker(), b"", b""
    for begin, end in itertools.pairwise(edges):
        if dechunker.done:
            rest += raw[begin:end]
        else:
            body += dechunker.feed(raw[begin:end])
    assert (body, dechunker.done, dechunker.rest + rest) == (b"".join(pieces), True, b"NEXT")
