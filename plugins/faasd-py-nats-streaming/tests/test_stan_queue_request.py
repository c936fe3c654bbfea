"""OpenFaaS' queue message, both ways, byte for byte where that can be said."""

from __future__ import annotations

import contextlib
import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.api import Call
from faasd_py_nats_streaming import go_url
from faasd_py_nats_streaming.envelope import Envelope, Unreadable, encode
from faasd_py_nats_streaming.formats import make_format
from faasd_py_nats_streaming.identity import Ids, foreign
from faasd_py_nats_streaming.queue_request import canonical, decode
from faasd_py_nats_streaming.queue_request import encode as to_json

ID = Ids(1).text(Ids(1).new(1.7e9))
CALL = Call(
    lane="resize.openfaas-fn", target=b"/a/b?c=d&e", host=b"gw:8080",
    headers=b"content-type: text/plain\r\nX-Two: 1\r\nx-two: 2\r\nX-Callback-Url: http://cb.example:81/p/q?x=1#f\r\n",
    body=b"hello", call_id="caller-1", accepted_at=1.7e9, callback_url="http://cb.example:81/p/q?x=1#f",
)  # fmt: skip


def read(data, channel="faas-request", sequence=7, timestamp=1_700_000_000_123_000_000):
    data = data if isinstance(data, bytes) else json.dumps(data).encode()
    return decode(data, channel, sequence, timestamp, "openfaas-fn")


def test_a_call_is_written_as_openfaas_writes_it():
    """Keys in Go's order, arrays of strings with canonical names, base64, and the URL as Go's object."""
    assert to_json(ID, CALL, "openfaas-fn").decode() == (
        '{"Header":{"Content-Type":["text/plain"],"X-Two":["1","2"],'
        '"X-Callback-Url":["http://cb.example:81/p/q?x=1#f"],"X-Call-Id":["caller-1"],'
        f'"X-Start-Time":["1700000000000000000"],"X-Queue-Id":["{ID}"]}},'
        '"Host":"gw:8080","Body":"aGVsbG8=","Method":"POST","Path":"/a/b","QueryString":"c=d&e","Function":"resize",'
        '"CallbackUrl":{"Scheme":"http","Opaque":"","User":null,"Host":"cb.example:81","Path":"/p/q","RawPath":"",'
        '"OmitHost":false,"ForceQuery":false,"RawQuery":"x=1","Fragment":"f","RawFragment":""}}'
    )


def test_what_is_empty_is_left_out():
    """As Go's omitempty does: no Body, no Path for the root, no CallbackUrl; Method and Function are always there."""
    said = json.loads(to_json(ID, Call(lane="f.other"), "openfaas-fn"))
    assert set(said) == {"Header", "Method", "Function"}
    assert said["Function"] == "f.other"
    assert said["Header"] == {"X-Call-Id": [ID], "X-Start-Time": ["0"], "X-Queue-Id": [ID]}


def test_our_own_calls_come_back_as_they_were():
    """Everything that the form has a place for."""
    envelope = read(to_json(ID, CALL, "openfaas-fn"))
    assert envelope.id == ID
    call = envelope.call
    assert (call.lane, call.target, call.host, call.body) == (CALL.lane, CALL.target, CALL.host, CALL.body)
    assert (call.call_id, call.callback_url, call.accepted_at) == ("caller-1", CALL.callback_url, 1.7e9)
    assert call.headers == (
        b"Content-Type: text/plain\r\nX-Two: 1\r\nX-Two: 2\r\nX-Callback-Url: http://cb.example:81/p/q?x=1#f\r\n"
    )


def test_options_travel_in_header_fields():
    """What a worker of ours decides by, and what the function is not to see."""
    call = Call(lane="f.openfaas-fn", max_attempts=3, timeout=1.5, on_crash=False, failure_url="http://x/f")
    back = read(to_json(ID, call, "openfaas-fn")).call
    assert (back.max_attempts, back.timeout, back.on_crash, back.failure_url) == (3, 1.5, False, "http://x/f")
    assert back.headers == b""
    assert back.call_id is None


OPENFAAS = {
    "Header": {
        "Accept-Encoding": ["gzip"], "Content-Length": ["4"], "User-Agent": ["curl/8"], "X-Call-Id": ["6d0d4f0c-aaaa"],
        "X-Start-Time": ["1600000000000000001"], "Connection": ["keep-alive"], "Authorization": ["Bearer x"],
        "X-Callback-Url": ["http://receiver:9/done"],
    },
    "Host": "gateway:8080", "Body": "Ym9keQ==", "Method": "POST", "Path": "/sub/path", "QueryString": "q=1",
    "Function": "figlet", "QueueName": "faas-request", "Annotations": {"a": "b"},
    "CallbackUrl": {
        "Scheme": "http", "Opaque": "", "User": None, "Host": "receiver:9", "Path": "/done", "RawPath": "",
        "OmitHost": False, "ForceQuery": False, "RawQuery": "", "Fragment": "", "RawFragment": "",
    },
}  # fmt: skip


def test_a_gateways_message_becomes_a_call():
    """Framing and ids of the gateway are taken out of the header; the rest stays as it came."""
    envelope = read(OPENFAAS)
    call = envelope.call
    assert (call.lane, call.target, call.method) == ("figlet.openfaas-fn", b"/sub/path?q=1", b"POST")
    assert (call.host, call.body, call.call_id) == (b"gateway:8080", b"body", "6d0d4f0c-aaaa")
    assert call.callback_url == "http://receiver:9/done"
    assert call.accepted_at == pytest.approx(1.6e9)
    assert call.headers == (
        b"Accept-Encoding: gzip\r\nUser-Agent: curl/8\r\nAuthorization: Bearer x\r\n"
        b"X-Callback-Url: http://receiver:9/done\r\n"
    )


def test_a_message_without_our_id_has_one_that_lasts():
    """The same at every delivery, another for another message."""
    assert read(OPENFAAS).id == read(OPENFAAS).id == foreign("faas-request", 7, 1_700_000_000_123_000_000)
    assert read(OPENFAAS, sequence=8).id != read(OPENFAAS).id
    assert read(OPENFAAS, timestamp=1).id != read(OPENFAAS).id


@pytest.mark.parametrize(
    ("function", "lane"),
    [("f", "f.openfaas-fn"), ("f.dev", "f.dev"), ("a.b.dev", "a.b.dev"), ("F-_0", "F-_0.openfaas-fn")],
)
def test_a_name_without_a_namespace_has_the_default_one(function, lane):
    """Wire contract §1.0: split at the last dot."""
    assert read({"Function": function}).call.lane == lane


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b"\xff", b'{"Function": 1}', b'{"Function": ""}', b'{"Function": "a/b"}',
        b'{"Function": ".x"}', b'{"Function": "x."}', b'{"Function": "f", "Body": "%%%"}', b'{"Function": "f", "Header": []}',
        b'{"Function": "f", "Header": {"A": "b"}}', b'{"Function": "f", "CallbackUrl": "http://x"}',
    ],
)  # fmt: skip
def test_what_is_no_such_message_says_so(data):
    """One kind of error, whatever is wrong."""
    with pytest.raises(Unreadable):
        read(data)


def test_nothing_in_a_message_becomes_another_header_or_request():
    """Line breaks, odd names, spaces in the path: left out or escaped."""
    call = read(
        {
            "Function": "f", "Path": "/a b\r\nX: y", "QueryString": "c d#e", "Host": "h\r\nX: y",
            "Header": {"A\r\nB": ["1"], "C": ["2\r\nD: 3"], "E": ["\x00"], "F": ["good", "b\nad"], "": ["x"], "Host": ["evil"]},
        }
    ).call  # fmt: skip
    assert call.target == b"/a%20b%0D%0AX:%20y?c%20d%23e"
    assert call.host == b""
    assert call.headers == b"F: good\r\n"


def test_nulls_and_unknown_keys_are_no_matter():
    """Go writes null for a nil map; later versions have more keys."""
    call = read(
        {"Function": "f", "Header": None, "CallbackUrl": None, "Body": None, "Method": None, "New": 1}
    ).call
    assert call == Call(lane="f.openfaas-fn", accepted_at=pytest.approx(1_700_000_000.123))


@pytest.mark.parametrize("value", ["x", "-1", "1e9", "", "0", "99999999", "NaN", "1h30", "²"])
def test_options_that_are_none_are_passed_over(value):
    """Nobody is there any more to be told 400."""
    call = read({"Function": "f", "Header": {"X-Max-Attempts": [value], "X-Start-Time": [value + "x"]}}).call
    assert call.max_attempts is None
    assert read({"Function": "f", "Header": {"X-Timeout": [value + "?"]}}).call.timeout is None


@given(st.binary(max_size=300), st.binary(max_size=50))
def test_any_body_and_any_header_value_survive_or_change_nothing_else(body, value):
    """Bodies come back byte for byte; a header value is text to JSON."""
    clean = value.replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"").strip()
    call = Call(lane="f.openfaas-fn", body=body, headers=b"X-A: " + clean + b"\r\n")
    back = read(to_json(ID, call, "openfaas-fn")).call
    assert back.body == body
    assert back.headers.count(b"\r\n") <= 1
    try:
        clean.decode("utf-8")
    except UnicodeDecodeError:
        return
    if clean.decode().strip() == clean.decode():
        assert back.headers == call.headers


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(data):
    """A call, or Unreadable."""
    with contextlib.suppress(Unreadable):
        read(data)


def test_names_are_capitalised_as_go_does():
    """textproto.CanonicalMIMEHeaderKey."""
    assert canonical("x-CALL-id") == "X-Call-Id"
    assert canonical("ETag") == "Etag"


def test_our_own_native_messages_are_read_in_either_form():
    """Retries and callbacks share the channels."""
    envelope = Envelope(id=ID, call=CALL, hop=2, attempts=3, due=5.0)
    for name in ("openfaas", "native"):
        assert make_format(name, "openfaas-fn").decode(encode(envelope), "c", 1, 1) == envelope


@pytest.mark.parametrize(
    ("url", "differs"),
    [
        ("http://a", {"Path": ""}),
        ("https://a:8443/", {"Scheme": "https", "Host": "a:8443", "Path": "/"}),
        ("http://a/p%20q", {"Path": "/p q", "RawPath": ""}),
        ("http://a/p%2Fq", {"Path": "/p/q", "RawPath": "/p%2Fq"}),
        ("http://a/p?", {"Path": "/p", "ForceQuery": True}),
        ("http://a/p?x=%20&y", {"Path": "/p", "RawQuery": "x=%20&y"}),
        ("http://a/#fr%20ag", {"Path": "/", "Fragment": "fr ag"}),
        ("http://[::1]:80/x", {"Host": "[::1]:80", "Path": "/x"}),
    ],
)
def test_urls_are_gos_objects_and_back(url, differs):
    """As net/url parses and prints them."""
    told = go_url.parse(url)
    assert list(told) == list(go_url.KEYS)
    empty = dict.fromkeys(go_url.KEYS, "") | {
        "Scheme": "http", "User": None, "Host": urlsplit(url).netloc, "OmitHost": False, "ForceQuery": False
    }  # fmt: skip
    assert told == empty | differs
    assert go_url.unparse(told) == url


def test_credentials_of_a_url_do_not_survive():
    """Go's JSON has no place for them."""
    assert go_url.unparse(go_url.parse("http://user:pw@host/x")) == "http://host/x"


@pytest.mark.parametrize(
    "junk", [{}, {"Scheme": 1, "Host": None}, {"Path": "x", "Host": "h"}, {"Opaque": "o", "Scheme": "m"}]
)
def test_odd_objects_make_odd_urls_and_no_error(junk):
    """The guard refuses them later, with its reason."""
    assert isinstance(go_url.unparse(junk), str)
