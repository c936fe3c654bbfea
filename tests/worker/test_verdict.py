"""What becomes of a call: the table in worker/verdict.py, line by line, and what holds for all of it."""

from __future__ import annotations

from email.utils import formatdate
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.call import Call, Lease
from faasd_py.core.durations import Duration
from faasd_py.core.lifecycle import Move, State, after
from faasd_py.core.outcome import Outcome
from faasd_py.core.retry import RetryPolicy
from faasd_py.worker.verdict import STATUSES, forbid, judge, judge_delivery, retry_after

POLICY = RetryPolicy(attempts=3, min_wait=Duration(10), max_wait=Duration(120))
NOW = 1_800_000_000.0


def call(**changes) -> Call:
    return Call(lane="f.openfaas-fn", **changes)


def lease(attempt=1, crashed=False, **changes) -> Lease:
    return Lease(key=1, id="Q", call=call(**changes), attempt=attempt, crashed=crashed)


def outcome(status: int, headers: bytes = b"", internal: str | None = None) -> Outcome:
    return Outcome(status=status, headers=headers, internal=internal)


def verdict(status=500, attempt=1, headers=b"", internal=None, policy=POLICY, roll=0.5, **changes):
    return judge(policy, call(**changes), attempt, outcome(status, headers, internal), NOW, roll)


@pytest.mark.parametrize("status", [200, 202, 204, 301, 304, 399])
def test_below_400_is_done(status):
    """Success and redirects end a call, whatever else the answer says."""
    assert verdict(status).move is Move.DONE
    assert verdict(status, internal="proxy").move is Move.DONE
    assert verdict(status, headers=b"X-No-Retry: 1\r\n").move is Move.DONE


@pytest.mark.parametrize("status", [400, 401, 404, 409, 413, 422, 501, 505])
def test_a_status_not_to_be_retried_is_done(status):
    """The function said its last word."""
    assert verdict(status).move is Move.DONE


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_the_codes_are_retried(status):
    """The policy's codes are tried again after a wait."""
    assert verdict(status, roll=0.5).move is Move.RETRY
    assert verdict(status, roll=0.5).wait == 5.0
    assert verdict(status, roll=0.5, attempt=2).wait == 10.0


def test_an_error_of_the_platform_is_always_retried():
    """X-OpenFaaS-Internal makes any status retryable (wire contract §2.5)."""
    assert verdict(404, internal="proxy").move is Move.RETRY
    assert verdict(403, internal="of-watchdog").move is Move.RETRY


def test_the_last_attempt_buries():
    """With its attempts used up a call is dead; X-Max-Attempts lowers the limit and never raises it."""
    assert verdict(attempt=2).move is Move.RETRY
    assert (verdict(attempt=3).move, verdict(attempt=3).reason) == (Move.BURY, "attempts")
    assert verdict(attempt=2, max_attempts=2).reason == "attempts"
    assert verdict(attempt=3, max_attempts=99).reason == "attempts"


def test_a_function_may_refuse_a_retry():
    """X-No-Retry: 1 buries at once; other values mean nothing."""
    assert verdict(headers=b"x-no-retry: 1\r\n").reason == "refused"
    assert verdict(headers=b"X-No-Retry: 0\r\n").move is Move.RETRY


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after(status):
    """Seconds or a date take the place of the back-off, at least min_wait, at most max_wait."""
    date = formatdate(NOW + 60, usegmt=True).encode()
    assert verdict(status, headers=b"Retry-After: 33\r\n").wait == 33
    assert verdict(status, headers=b"Retry-After: " + date + b"\r\n").wait == pytest.approx(60, abs=1)
    assert verdict(status, headers=b"Retry-After: 1\r\n").wait == 10
    assert verdict(status, headers=b"Retry-After: 9999999999999999999999\r\n").wait == 120
    longer = RetryPolicy(max_retry_after=Duration(7200))
    assert verdict(status, headers=b"Retry-After: 3600\r\n", policy=longer).wait == 3600


@pytest.mark.parametrize("value", [b"", b"soon", b"-1", b"1.5", b"\xff", b"Mon, 99 Foo 2026", b"0x10"])
def test_a_retry_after_that_cannot_be_read_is_none(value):
    """Nonsense falls back to the back-off."""
    assert retry_after(outcome(503, b"Retry-After: " + value + b"\r\n"), NOW) is None


def test_retry_after_counts_only_on_429_and_503():
    """On other statuses it means something else."""
    assert retry_after(outcome(500, b"Retry-After: 5\r\n"), NOW) is None


def test_a_retry_that_would_come_too_late_buries():
    """There is no sense in waiting for the expiry."""
    assert verdict(expires_at=NOW + 4).reason == "expired"
    assert verdict(expires_at=NOW + 6).move is Move.RETRY


def test_what_must_not_begin():
    """Expired, interrupted without on_crash, or begun too often."""
    assert forbid(POLICY, lease(), NOW) is None
    assert forbid(POLICY, lease(expires_at=NOW + 1), NOW) is None
    assert forbid(POLICY, lease(expires_at=NOW), NOW).reason == "expired"
    assert forbid(POLICY, lease(2, crashed=True), NOW) is None
    assert forbid(POLICY, lease(2, crashed=True, on_crash=False), NOW).reason == "interrupted"
    assert forbid(RetryPolicy(on_crash=False), lease(2, crashed=True), NOW).reason == "interrupted"
    assert forbid(POLICY, lease(3), NOW) is None
    assert forbid(POLICY, lease(4, crashed=True), NOW).reason == "attempts"
    assert {forbid(POLICY, one, NOW).reason for one in (lease(4), lease(expires_at=0))} <= set(STATUSES)


def delivery(status=500, attempt=1, headers=b"", internal=None, roll=0.5, schedule=(5.0, 300.0)):
    return judge_delivery(schedule, attempt, outcome(status, headers, internal), NOW, roll)


def test_deliveries():
    """2xx is delivered; 410 and the guard stop it; all else is tried again by the schedule, and then dead."""
    assert delivery(200).move is delivery(204).move is Move.DONE
    assert delivery(410).reason == "gone"
    assert delivery(403, internal="guard").reason == "refused"
    for status in (301, 302, 400, 403, 404, 429, 500, 503):
        assert delivery(status).wait == 5.0
        assert delivery(status, attempt=2).wait == 300.0
        assert (delivery(status, attempt=3).move, delivery(status, attempt=3).reason) == (
            Move.BURY,
            "callback",
        )
    assert delivery(202, internal="callback").move is Move.RETRY
    assert delivery(schedule=()).reason == "callback"


def test_a_delivery_waits_as_its_receiver_asks():
    """Retry-After prolongs a wait, at most to the schedule's longest; it does not shorten one."""
    assert delivery(429, headers=b"Retry-After: 60\r\n").wait == 60
    assert delivery(429, headers=b"Retry-After: 1\r\n").wait == 5.0
    assert delivery(503, headers=b"Retry-After: 99999\r\n").wait == 300.0


anything = st.builds(
    Outcome,
    status=st.integers(100, 999),
    headers=st.sampled_from([b"", b"X-No-Retry: 1\r\n", b"Retry-After: 7\r\n", b"Retry-After: x\r\n"]),
    internal=st.sampled_from([None, "proxy", "guard", "callback"]),
)
rolls = st.floats(0, 1, exclude_max=True)


@given(
    anything, st.integers(1, 20), rolls, st.none() | st.integers(1, 5), st.none() | st.floats(NOW, NOW + 1e6)
)
def test_every_judgement_is_lawful(answer, attempt, roll, most, expires):
    """A verdict is a move out of LEASED; a retry is within attempts, within max_wait, and never past the expiry."""
    asked = call(max_attempts=most, expires_at=expires)
    found = judge(POLICY, asked, attempt, answer, NOW, roll)
    assert after(State.LEASED, found.move) in {State.DONE, State.DELAYED, State.DEAD}
    assert bool(found.reason) is (found.move is not Move.DONE)
    if found.move is Move.RETRY:
        assert attempt < min(POLICY.attempts, most or 99)
        assert 0 <= found.wait <= POLICY.max_wait
        assert expires is None or NOW + found.wait < expires
        assert answer.status >= 400


@given(anything, st.integers(1, 20), rolls, st.lists(st.floats(0, 1e6), max_size=9))
def test_every_delivery_s_judgement_is_lawful(answer, attempt, roll, schedule):
    """Only an own 2xx is done, and there is one attempt more than there are waits."""
    found = judge_delivery(schedule, attempt, answer, NOW, roll)
    assert (found.move is Move.DONE) is (200 <= answer.status < 300 and answer.internal is None)
    if found.move is Move.RETRY:
        assert attempt <= len(schedule)
        assert 0 <= found.wait <= max(schedule) * 1.1


@given(rolls)
def test_waits_grow(roll):
    """The same roll waits longer, or as long, each time."""
    patient = RetryPolicy(attempts=99)
    waits = [verdict(attempt=attempt, policy=patient, roll=roll).wait for attempt in range(1, 20)]
    assert all(sooner <= later for sooner, later in pairwise(waits))
