"""When a failed call is tried again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.durations import Duration
from faasd_py.core.retry import DEFAULT_CODES, RetryPolicy, backoff, honoured

POLICY = RetryPolicy(min_wait=Duration(10), max_wait=Duration(120))


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_wait_lies_between_nothing_and_the_ceiling(attempt, roll):
    """Full jitter, whatever the attempt; no overflow."""
    assert 0 <= backoff(POLICY, attempt, roll) <= 120


@pytest.mark.parametrize(("attempt", "ceiling"), [(1, 10), (2, 20), (3, 40), (4, 80), (5, 120), (500, 120)])
def test_the_ceiling_doubles_up_to_the_longest(attempt, ceiling):
    """min_wait, twice, four times, and so on."""
    assert backoff(POLICY, attempt, 0.5) == ceiling / 2


@pytest.mark.parametrize(
    ("said", "limit", "wait"),
    [(5, None, 5), (500, None, 120), (500, 600, 500), (700, 600, 600), (-3, None, 0)],
)
def test_a_function_may_say_how_long_within_limits(said, limit, wait):
    """Retry-After is clamped to max_wait unless more is allowed."""
    policy = RetryPolicy(max_wait=Duration(120), max_retry_after=None if limit is None else Duration(limit))
    assert honoured(policy, said) == wait


def test_the_defaults_are_those_of_the_manual():
    """Ten attempts, 10 s to 2 min, the usual codes, and again after a crash."""
    policy = RetryPolicy()
    assert (policy.attempts, policy.min_wait, policy.max_wait, policy.on_crash) == (10, 10, 120, True)
    assert policy.codes == DEFAULT_CODES == {408, 429, 500, 502, 503, 504}
