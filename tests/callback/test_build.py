"""What a callback says of a finished call (OpenFaaS wire contract §2.4)."""

from __future__ import annotations

import pytest

from faasd_py import __version__
from faasd_py.callback.build import Finished, build, is_callback
from faasd_py.core.call import Spooled
from faasd_py.core.errors import BadOption
from faasd_py.core.outcome import Outcome
from faasd_py.http import fields


def finished(**changes) -> Finished:
    outcome = changes.pop(
        "outcome",
        Outcome(status=200, headers=b"Content-Type: text/plain\r\n", body=b"out", size=3, duration=0.25),
    )
    plain = {
        "id": "Q1", "call_id": "C1", "function": "resize", "outcome": outcome, "body": b"out", "retries": 2,
        "max_retries": 9,
    }  # fmt: skip
    return Finished(**plain | changes)


def test_a_callback_is_a_call_of_its_own():
    """It goes to the receiver's lane with the function's body, and points back to the call it is about."""
    call = build("https://hooks.example.com/done?x=1", finished(), now=5.0)
    assert (call.lane, call.method, call.target) == ("callback:hooks.example.com:443", b"POST", b"/done?x=1")
    assert (call.host, call.body, call.accepted_at) == (b"hooks.example.com", b"out", 5.0)
    assert (call.origin, call.callback_url) == ("Q1", "https://hooks.example.com/done?x=1")
    assert call.call_id == "callback:Q1"
    assert call.failure_url is None
    assert is_callback(call.lane)


def test_what_it_says():
    """Status, function, call id, duration with six decimals, retries made and allowed, and who sends it."""
    headers = build("http://h/", finished(), now=0).headers
    expected = {
        b"Content-Type": b"text/plain", b"X-Call-Id": b"C1", b"X-Function-Name": b"resize", b"X-Function-Status": b"200",
        b"X-Duration-Seconds": b"0.250000", b"X-Retry": b"2", b"X-Retry-Max": b"9",
        b"User-Agent": b"faasd-py/" + __version__.encode(),
    }  # fmt: skip
    assert {name: fields.get(headers, name) for name in expected} == expected
    assert headers.endswith(b"\r\n")
    assert b"\r\n\r\n" not in headers
    assert not fields.has(headers, b"x-function-error")


def test_why_a_call_is_dead():
    """A dead call's callback says the reason."""
    headers = build("http://h/", finished(reason="expired"), now=0).headers
    assert fields.get(headers, b"x-function-error") == b"expired"


def test_what_does_not_travel():
    """Credentials, framing, hop-by-hop fields and our own names are taken out of the function's lines."""
    lines = (
        b"Authorization: Basic x\r\ncookie: a=b\r\nProxy-Authorization: y\r\nContent-Length: 3\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\nX-Function-Status: 999\r\nx-call-id: forged\r\nUser-Agent: me\r\n"
        b"webhook-signature: v1,forged\r\nHost: evil\r\nX-Mine: stays\r\nSet-Cookie: session=1\r\n"
    )
    headers = build("http://h/", finished(outcome=Outcome(status=500, headers=lines)), now=0).headers
    assert fields.get(headers, b"x-mine") == b"stays"
    assert fields.get(headers, b"set-cookie") == b"session=1"
    assert fields.get_all(headers, b"x-function-status") == [b"500"]
    assert fields.get_all(headers, b"x-call-id") == [b"C1"]
    for name in (
        b"authorization",
        b"cookie",
        b"content-length",
        b"connection",
        b"webhook-signature",
        b"host",
    ):
        assert not fields.has(headers, name)


def test_a_large_answer_stays_in_its_file():
    """A spooled body is handed on as it is."""
    body = Spooled(path="/spool/1", size=1 << 30)
    assert build("http://h/", finished(body=body), now=0).body is body


def test_a_url_that_cannot_be_used():
    """What the gateway should have refused is refused here, too."""
    with pytest.raises(BadOption, match="http or https"):
        build("gopher://h/", finished(), now=0)
