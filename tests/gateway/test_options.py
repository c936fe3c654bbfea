"""The option headers of an asynchronous call."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import BadOption
from faasd_py.core.retry import RetryPolicy
from faasd_py.gateway import options
from faasd_py.queue.contract import Capabilities

NOW = 1_790_000_000.0
FUNCTION = FunctionSettings(command=["cat"], retry=RetryPolicy(attempts=5))


def read(**fields):
    return options.read(
        {name.replace("_", "-").encode(): value for name, value in fields.items()}, FUNCTION, NOW
    )


def test_no_option_costs_nothing():
    """A call without options shares one object."""
    assert options.read({b"x-call-id": b"1"}, FUNCTION, NOW) is options.NONE


def test_every_option_is_read():
    """All headers at once, each in its own field."""
    wanted = read(
        x_delay=b"10s", x_max_age=b"1m", x_max_attempts=b"3", x_priority=b"-4", x_timeout=b"5s",
        idempotency_key=b"order 7", x_callback_url=b"http://a/", x_callback_failure_url=b"http://b/",
    )  # fmt: skip
    assert wanted == options.Options(
        not_before=NOW + 10, expires_at=NOW + 60, max_attempts=3, priority=-4, timeout=5.0,
        idempotency_key="order 7", callback_url="http://a/", failure_url="http://b/",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (b"2026-09-21T14:13:20Z", 1_790_000_000),
        (b"2026-09-21T16:13:20+02:00", 1_790_000_000),
        (b"2026-09-21T14:13:20.5Z", 1_790_000_000.5),
    ],
)
def test_not_before_is_rfc_3339(text, seconds):
    """A time with a zone, with or without fractions."""
    assert read(x_not_before=text).not_before == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"x_delay": b"soon"}, "X-Delay"),
        ({"x_delay": b"-1s"}, "X-Delay"),
        ({"x_delay": b"99999d"}, "X-Delay"),
        ({"x_delay": b"1s", "x_not_before": b"2026-09-21T14:13:20Z"}, "X-Delay"),
        ({"x_not_before": b"tomorrow"}, "X-Not-Before"),
        ({"x_not_before": b"2026-09-21T14:13:20"}, "X-Not-Before"),
        ({"x_not_before": b"2026-09-21"}, "X-Not-Before"),
        ({"x_not_before": b"9999-12-31T00:00:00Z"}, "X-Not-Before"),
        ({"x_max_age": b""}, "X-Max-Age"),
        ({"x_max_attempts": b"0"}, "X-Max-Attempts"),
        ({"x_max_attempts": b"two"}, "X-Max-Attempts"),
        ({"x_priority": b"11"}, "X-Priority"),
        ({"x_priority": b"1.5"}, "X-Priority"),
        ({"x_timeout": b"\xff"}, "X-Timeout"),
        ({"idempotency_key": b""}, "Idempotency-Key"),
        ({"idempotency_key": b"k" * 256}, "Idempotency-Key"),
        ({"idempotency_key": b"caf\xc3\xa9"}, "Idempotency-Key"),
        ({"x_callback_url": b"http://\xc3\xa9/"}, "X-Callback-Url"),
    ],
)
def test_a_bad_option_is_named(fields, named):
    """The error is one sentence that begins with the header."""
    with pytest.raises(BadOption, match=f"^{named}: ") as caught:
        read(**fields)
    assert "\n" not in str(caught.value)


def test_attempts_and_timeout_are_bounded_by_the_function():
    """A call may ask for less than its function allows, never for more."""
    wanted = read(x_max_attempts=b"99", x_timeout=b"1h")
    assert (wanted.max_attempts, wanted.timeout) == (5, FUNCTION.exec_timeout)


def test_without_an_exec_timeout_the_call_sets_its_own():
    """exec_timeout 0 means none, and X-Timeout is then the limit; X-Timeout 0 asks for nothing."""
    endless = msgspec.structs.replace(FUNCTION, exec_timeout=type(FUNCTION.exec_timeout)(0))
    assert options.read({b"x-timeout": b"9s"}, endless, NOW).timeout == 9
    assert read(x_timeout=b"0").timeout is None


@pytest.mark.parametrize(
    ("wanted", "header"),
    [
        (options.Options(not_before=NOW), "X-Delay"),
        (options.Options(expires_at=NOW), "X-Max-Age"),
        (options.Options(priority=1), "X-Priority"),
        (options.Options(idempotency_key="k"), "Idempotency-Key"),
    ],
)
def test_a_queue_that_cannot_says_so(wanted, header):
    """An option beyond the backend's capabilities is refused, never ignored."""
    with pytest.raises(BadOption, match=header):
        options.check(wanted, Capabilities(durable=False))
    options.check(wanted, Capabilities(durable=True, delay=True, expiry=True, priority=True, dedup=True))


@given(st.dictionaries(st.sampled_from(options.NAMES), st.binary(max_size=40)))
def test_no_bytes_make_a_traceback(fields):
    """Whatever a header holds, it is read or refused with its name."""
    try:
        options.read(fields, FUNCTION, NOW)
    except BadOption as error:
        assert str(error).split(":")[0].encode().lower() in fields
