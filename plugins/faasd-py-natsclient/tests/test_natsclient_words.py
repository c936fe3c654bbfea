"""Headers, subjects, what the client says, and what it takes from INFO."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py_natsclient import BadHeader, BadSubject, ServerInfo, encode
from faasd_py_natsclient.headers import decode_headers, encode_headers
from faasd_py_natsclient.subjects import literal, pattern, queue_group


@given(
    st.dictionaries(
        st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters=":"), min_size=1),
        st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"])).map(
            lambda v: v.strip(" \t")
        ),
    )
)
def test_headers_come_back_as_they_went(headers):
    """Any printable name and any value without line breaks survive."""
    assert decode_headers(encode_headers(headers)) == (headers, None, "")


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a\r\nb", "é", "a\tb", "\x7f"])
def test_a_bad_header_name_is_refused(name):
    """It would become another name, or another line."""
    with pytest.raises(BadHeader, match="header name"):
        encode_headers({name: "x"})


@pytest.mark.parametrize("value", ["a\r\nNats-Msg-Id: 1", "a\nb", "a\rb", "a\0b", "\r\n\r\nbody"])
def test_a_line_break_in_a_header_is_refused(value):
    """Nobody smuggles a header or a body through a value."""
    with pytest.raises(BadHeader, match="header X: a line break"):
        encode_headers({"X": value})


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (b"NATS/1.0 503\r\n\r\n", ({}, 503, "")),
        (b"NATS/1.0 409 Consumer Deleted\r\n\r\n", ({}, 409, "Consumer Deleted")),
        (
            b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Stream: 5\r\n\r\n",
            ({"Nats-Last-Stream": "5"}, 100, "Idle Heartbeat"),
        ),
        (b"NATS/1.0\r\nA: 1\r\nA: 2\r\n\r\n", ({"A": "1"}, None, "")),
        (b"NATS/1.0\r\nno colon\r\nA:1\r\n\r\n", ({"A": "1"}, None, "")),
        (b"NATS/1.0\r\nA: b:c \r\n\r\n", ({"A": "b:c"}, None, "")),
        (b"HTTP/1.1 200 OK\r\n\r\n", ({}, None, "")),
        (b"", ({}, None, "")),
        (b"NATS/1.0 abc\r\n\r\n", ({}, None, "abc")),
        (b"NATS/1.0\r\nA: \xff\r\n\r\n", ({"A": "\udcff"}, None, "")),
    ],
)
def test_reading_headers_is_total(block, expected):
    """What is no header is skipped, and the status line is read."""
    assert decode_headers(block) == expected


@given(st.binary(max_size=80))
def test_no_header_block_raises(block):
    """Whatever a publisher sent as headers."""
    decode_headers(b"NATS/1.0" + block)


@pytest.mark.parametrize(
    "subject", ["a", "a.b", "$JS.API.INFO", "_INBOX.x.1", "a-b_c", "é.ü", "$JS.ACK.s.c.1.2.3.4.5"]
)
def test_good_subjects(subject):
    """Words with dots between."""
    assert literal(subject) == pattern(subject) == subject.encode()


@pytest.mark.parametrize(
    "subject",
    [
        "",
        ".",
        "a.",
        ".a",
        "a..b",
        "a b",
        "a\tb",
        "a\r\nPUB x 0",
        "a\n",
        "a.*",
        "a.>",
        "*",
        ">",
        "\0",
        "a\x7f",
    ],
)
def test_bad_subjects_to_publish(subject):
    """Each would be another command, another subject, or several."""
    with pytest.raises(BadSubject):
        literal(subject)


@pytest.mark.parametrize("subject", ["*", ">", "a.*", "*.b", "a.>", "*.*.>"])
def test_good_patterns(subject):
    """A wildcard is a part by itself; `>` ends."""
    assert pattern(subject) == subject.encode()


@pytest.mark.parametrize("subject", ["", "a.>.b", "a*", ">a", "a b", "a..*", "a.>\n", "a.*\r\n"])
def test_bad_patterns(subject):
    """The server would refuse it, or worse."""
    with pytest.raises(BadSubject):
        pattern(subject)


@pytest.mark.parametrize("group", ["a b", "a\r\n", "\t"])
def test_bad_queue_groups(group):
    """A group's name is one word."""
    with pytest.raises(BadSubject):
        queue_group(group)


def test_commands():
    """Byte for byte what the protocol's reference says."""
    assert encode.pub(b"a", b"", b"hi") == b"PUB a 2\r\nhi\r\n"
    assert encode.pub(b"a", b"r", b"") == b"PUB a r 0\r\n\r\n"
    block = encode_headers({"A": "b"})
    assert block == b"NATS/1.0\r\nA: b\r\n\r\n"
    assert encode.hpub(b"a", b"", block, b"hi") == b"HPUB a 18 20\r\n" + block + b"hi\r\n"
    assert encode.hpub(b"a", b"r", block, b"") == b"HPUB a r 18 18\r\n" + block + b"\r\n"
    assert encode.sub(b"a.*", b"", 7) == b"SUB a.* 7\r\n"
    assert encode.sub(b"a.*", b"q", 7) == b"SUB a.* q 7\r\n"
    assert encode.unsub(7) == b"UNSUB 7\r\n"
    assert encode.unsub(7, 3) == b"UNSUB 7 3\r\n"
    assert encode.connect({"name": "x\r\n"}) == b'CONNECT {"name":"x\\r\\n"}\r\n'


@given(
    st.dictionaries(
        st.sampled_from(["max_payload", "headers", "server_id", "connect_urls", "ldm", "x"]),
        st.from_type(type(None))
        | st.integers()
        | st.text()
        | st.booleans()
        | st.lists(st.integers() | st.text()),
    )
)
def test_info_of_any_shape(fields):
    """A field of the wrong kind counts as not there."""
    info = ServerInfo.of(json.loads(json.dumps(fields)))
    assert info.max_payload > 0
    assert all(isinstance(url, str) for url in info.connect_urls)


def test_info_as_a_server_says_it():
    """Its own names."""
    told = {
        "server_id": "N",
        "version": "2.15.1",
        "max_payload": 5,
        "headers": True,
        "ldm": True,
        "connect_urls": ["a:1"],
    }
    info = ServerInfo.of(told)
    assert (info.server_id, info.version, info.max_payload, info.headers, info.ldm) == (
        "N",
        "2.15.1",
        5,
        True,
        True,
    )
    assert info.connect_urls == ("a:1",)
