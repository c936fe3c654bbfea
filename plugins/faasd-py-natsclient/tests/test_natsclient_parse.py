"""The server's bytes, whole and in pieces, right and wrong."""

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faasd_py_natsclient.message import Broken, Err, Info, Message, Ok, Ping, Pong
from faasd_py_natsclient.parse import MAX_LINE, MAX_MESSAGE, Parser

WORDS = st.text("abcXYZ019_$-é", min_size=1, max_size=6)
SUBJECTS = st.lists(WORDS, min_size=1, max_size=4).map(".".join)
SIDS = st.integers(0, 10**9)
BODIES = st.one_of(st.binary(max_size=60), st.just(b"\r\n"), st.just(b"MSG a 1 0\r\n\r\n"))
HEADERS = st.dictionaries(
    st.text("AbZ-09", min_size=1, max_size=5), st.text("xyz é:1", max_size=8).map(str.strip)
)


@st.composite
def plain(draw):
    subject, sid, reply, data = (
        draw(SUBJECTS),
        draw(SIDS),
        draw(st.one_of(st.just(""), SUBJECTS)),
        draw(BODIES),
    )
    words = [subject, str(sid), *([reply] if reply else []), str(len(data))]
    return ("MSG " + " ".join(words)).encode() + b"\r\n" + data + b"\r\n", Message(subject, sid, reply, data)


@st.composite
def headed(draw):
    subject, sid, reply, data = (
        draw(SUBJECTS),
        draw(SIDS),
        draw(st.one_of(st.just(""), SUBJECTS)),
        draw(BODIES),
    )
    headers, status = draw(HEADERS), draw(st.one_of(st.none(), st.integers(100, 599)))
    first = "NATS/1.0" + (f" {status} Some Words" if status else "")
    block = "\r\n".join([first, *(f"{k}: {v}" for k, v in headers.items())]).encode() + b"\r\n\r\n"
    words = [subject, str(sid), *([reply] if reply else []), str(len(block)), str(len(block) + len(data))]
    message = Message(subject, sid, reply, data, headers, status, "Some Words" if status else "")
    return ("HMSG " + " ".join(words)).encode() + b"\r\n" + block + data + b"\r\n", message


@st.composite
def info(draw):
    fields = draw(st.dictionaries(WORDS, st.one_of(st.integers(), WORDS, st.booleans()), max_size=4))
    return b"INFO " + json.dumps(fields).encode() + b" \r\n", Info(fields)


OTHERS = st.sampled_from(
    [
        (b"PING\r\n", Ping()),
        (b"ping\r\n", Ping()),
        (b"PONG\r\n", Pong()),
        (b"+OK\r\n", Ok()),
        (b"-ERR 'Slow Consumer'\r\n", Err("Slow Consumer")),
    ]
)
STREAMS = st.lists(st.one_of(plain(), headed(), info(), OTHERS), max_size=8)


def fed(pieces):
    parser = Parser()
    return [event for piece in pieces for event in parser.feed(piece)], parser


def split(data, cuts):
    """The data cut at these places, which need not be in it."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[a:b] for a, b in itertools.pairwise(places)]


@given(STREAMS, st.lists(st.integers(0, 10**6), max_size=12))
@settings(deadline=None, max_examples=300)
def test_any_split_gives_the_same_events(stream, cuts):
    """However the bytes are cut, the same events come out, and nothing is held at the end."""
    data = b"".join(raw for raw, _ in stream)
    events, parser = fed(split(data, cuts))
    assert events == [event for _, event in stream]
    assert parser.held == 0


@given(STREAMS)
@settings(deadline=None, max_examples=100)
def test_byte_by_byte(stream):
    """One byte at a time is as good as all at once."""
    data = b"".join(raw for raw, _ in stream)
    assert fed([data[i : i + 1] for i in range(len(data))])[0] == [event for _, event in stream]


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b"MSG ", b"HMSG ", b"INFO ", b"\r\n", b" 1 ", b"a", b"{", b"-ERR", b"+OK", b"NATS/1.0"]
            ),
        ),
        max_size=12,
    ),
    st.lists(st.integers(0, 10**6), max_size=12),
)
@settings(deadline=None, max_examples=500)
def test_garbage_never_raises_and_any_split_agrees(parts, cuts):
    """Bytes that are not NATS give one Broken at most, the last event, and the same one however they are cut."""
    data = b"".join(parts)
    whole, _ = fed([data])
    pieces, _ = fed(split(data, cuts))
    assert whole == pieces
    assert not any(isinstance(event, Broken) for event in whole[:-1])


@given(STREAMS, st.integers(0, 10**6), st.integers(1, 255))
@settings(deadline=None, max_examples=300)
def test_one_wrong_byte_is_survived(stream, place, flip):
    """A flipped byte gives other events or a Broken, never an exception."""
    data = bytearray(b"".join(raw for raw, _ in stream) or b"PING\r\n")
    data[place % len(data)] ^= flip
    fed([bytes(data)])


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n", "begins with"),
        (b"\r\n", "begins with"),
        (b"MSG\r\n", "arguments"),
        (b"MSG a 1\r\n", "arguments"),
        (b"MSG a 1 b c 0\r\n\r\n", "arguments"),
        (b"MSG a x 0\r\n\r\n", "number"),
        (b"MSG a 1 -5\r\n", "number"),
        (b"MSG a 1 +5\r\n12345\r\n", "number"),
        (b"MSG a 1 1_0\r\n1234567890\r\n", "number"),
        (b"MSG a 1 2\r\nabc\r\n", "end of its line"),
        (b"MSG a 1 99999999999999999999\r\n", "number"),
        (b"MSG a 1 %d\r\n" % (MAX_MESSAGE + 1), "bytes"),
        (b"HMSG a 1 5 4\r\nabcd\r\n", "header bytes"),
        (b"HMSG a 1 4\r\nabcd\r\n", "arguments"),
        (b"INFO {\r\n", "JSON"),
        (b"INFO []\r\n", "object"),
        (b"INFO \xff\r\n", "JSON"),
        (b"INFO " + b"[" * 100_000 + b"\r\n", "JSON"),
    ],
)
def test_what_is_not_nats(data, reason):
    """Each has its reason; nothing that follows is read."""
    parser = Parser()
    (event,) = parser.feed(data)
    assert isinstance(event, Broken)
    assert reason in event.reason
    assert parser.feed(b"PING\r\n") == []


def test_events_before_the_break_are_given():
    """What was right is not lost with what was wrong."""
    assert Parser().feed(b"PING\r\nMSG a 1 1\r\nx\r\nwhat\r\n")[:2] == [Ping(), Message("a", 1, "", b"x")]


def test_a_line_without_end_is_broken():
    """A peer that never ends its line fills no memory."""
    parser = Parser()
    events = []
    for _ in range(MAX_LINE // 65536 + 2):
        events += parser.feed(b"x" * 65536)
    assert len(events) == 1
    assert isinstance(events[0], Broken)
    assert parser.held == 0


def test_a_large_message_in_pieces_is_joined_once():
    """16 MiB in 4 KiB pieces: what is held is not copied at every piece."""
    data = bytes(16 * 1024 * 1024)
    raw = b"MSG a 1 %d\r\n" % len(data) + data + b"\r\n"
    events, _ = fed([raw[at : at + 4096] for at in range(0, len(raw), 4096)])
    assert events == [Message("a", 1, "", data)]


def test_bytes_outside_utf_8_survive_in_subjects():
    """A publisher in another encoding costs its readers nothing, and its subject can be answered."""
    (message,) = Parser().feed(b"MSG \xff.a 1 \xfe 0\r\n\r\n")
    assert message.subject.encode("utf-8", "surrogateescape") == b"\xff.a"
    assert message.reply.encode("utf-8", "surrogateescape") == b"\xfe"


def test_tabs_and_many_blanks_separate():
    """The protocol allows them."""
    assert Parser().feed(b"MSG\ta  1\t 2\r\nhi\r\n") == [Message("a", 1, "", b"hi")]
