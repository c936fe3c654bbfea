"""The gateway's own small sums: rates, header lines, answers."""

import re

from hypothesis import given
from hypothesis import strategies as st

from faasd_py.config import RateSettings
from faasd_py.core.durations import Duration
from faasd_py.gateway import answers, headers
from faasd_py.gateway.admission import Bucket, Rates


def test_a_bucket_gives_its_tokens_and_then_says_how_long():
    """Two calls a second: the third in the same moment waits half a second."""
    bucket = Bucket(RateSettings(calls=2, per=Duration(1)), now=0.0)
    assert [bucket.take(0.0) for _ in range(3)] == [0.0, 0.0, 0.5]
    assert bucket.take(0.5) == 0.0


@given(st.lists(st.floats(0, 5), max_size=60), st.integers(1, 5), st.floats(0.1, 10))
def test_no_more_than_the_rate_passes(gaps, calls, per):
    """In any time, at most the capacity plus what has been refilled passes."""
    bucket = Bucket(RateSettings(calls=calls, per=Duration(per)), now=0.0)
    now = passed = 0.0
    for gap in gaps:
        now += gap
        passed += bucket.take(now) == 0.0
        assert passed <= calls + now * calls / per + 1e-6


def test_a_clock_that_steps_back_gives_nothing_away():
    """Time running backwards neither refills nor breaks a bucket."""
    bucket = Bucket(RateSettings(calls=1, per=Duration(1)), now=100.0)
    assert bucket.take(100.0) == 0.0
    assert bucket.take(50.0) > 0.0


def test_rates_are_per_function_and_change_with_the_settings():
    """One function's calls do not use up another's; new settings start afresh."""
    rates, slow = Rates(), RateSettings(calls=1, per=Duration(60))
    assert rates.wait("a", slow, 0.0) == 0.0
    assert rates.wait("a", slow, 0.0) > 0.0
    assert rates.wait("b", slow, 0.0) == 0.0
    assert rates.wait("a", RateSettings(calls=5), 0.0) == 0.0


def test_rates_of_functions_that_are_gone_are_forgotten():
    """Those that are there keep what they have used up."""
    rates, slow = Rates(), RateSettings(calls=1, per=Duration(60))
    for number in range(1000):
        rates.wait(f"f{number}", slow, 0.0)
    rates.keep({"f7": "queue"})
    assert len(rates._buckets) == 1
    assert rates.wait("f7", slow, 1.0) > 0.0


def test_call_ids_are_random_uuids():
    """Version 4, variant 10 (RFC 9562), and no two alike."""
    new = headers.CallIds().new
    ids = {new() for _ in range(200)}
    assert len(ids) == 200
    assert all(
        re.fullmatch(rb"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}", one) for one in ids
    )


def test_forwarded_lines_are_added_only_where_missing():
    """X-Forwarded-For and X-Forwarded-Host say who asked, unless a proxy before us said it."""
    both = headers.forwarded({}, b"192.0.2.1:5000", b"box:8080")
    assert both == b"X-Forwarded-For: 192.0.2.1:5000\r\nX-Forwarded-Host: box:8080\r\n"
    assert headers.forwarded({b"x-forwarded-for": b"a", b"x-forwarded-host": b"b"}, b"p", b"h") == b""


def test_what_is_stored_has_no_options_and_no_framing():
    """The function sees its own headers and X-Callback-Url; options, call id and Content-Length are fields of the call."""
    block = (
        b"Content-Length: 3\r\nX-Delay: 1s\r\nX-Custom: a\r\nx-call-id: 7\r\nX-Callback-Url: http://a\r\n"
        b"Idempotency-Key: k\r\nX-Delayed: no\r\nX-PRIORITY: 1\r\n"
    )
    assert headers.stored(block) == b"X-Custom: a\r\nX-Callback-Url: http://a\r\nX-Delayed: no\r\n"


def test_live_streams_are_told_by_accept():
    """Server-sent events and NDJSON are not ended by exec_timeout (OpenFaaS wire contract §5.3)."""
    assert headers.is_live({b"accept": b"text/html, text/event-stream"})
    assert headers.is_live({b"accept": b"application/x-ndjson"})
    assert not headers.is_live({b"accept": b"*/*"})
    assert not headers.is_live({})


def test_answers_are_one_line_of_text():
    """Status, plain text, the platform's mark, and Retry-After in whole seconds, at least one."""
    status, lines, body = answers.text(503, "full", internal=answers.INTERNAL, retry_after=0.2)
    assert (status, body) == (503, b"full\n")
    assert b"Retry-After: 1\r\n" in lines
    assert b"X-OpenFaaS-Internal: proxy\r\n" in lines
    assert b"Retry-After: 3\r\n" in answers.over_rate(2.1)[1]
    assert answers.too_many(4)[2] == b"Concurrent request limit exceeded. Max concurrent requests: 4\n"
    assert answers.unknown(b"no\xffpe")[0] == 404
