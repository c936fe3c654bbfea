"""Annotations as OpenFaaS has them, over the function's own policy."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.annotations import PREFIX, annotated
from faasd_py.core.durations import Duration
from faasd_py.core.retry import RetryPolicy

POLICY = RetryPolicy(attempts=7)


def policy(**given: str) -> RetryPolicy:
    return annotated(POLICY, {PREFIX + name: value for name, value in given.items()} | {"topic": "x"})


def test_all_four():
    """Attempts, codes and waits; what is not annotated stays."""
    found = policy(attempts="3", codes="404, 500", min_wait="1m30s", max_wait="600")
    assert found == RetryPolicy(
        attempts=3, codes=frozenset({404, 500}), min_wait=Duration(90), max_wait=Duration(600)
    )
    assert policy(codes="418").attempts == 7


def test_without_annotations_it_is_the_same():
    """Nothing is made anew."""
    assert annotated(POLICY, {"topic": "x"}) is POLICY


@pytest.mark.parametrize(
    ("name", "value"),
    [("attempts", value) for value in ("", "0", "-1", "many", "1.5", "²", "99999999999")]
    + [("codes", value) for value in ("", "500,", "99", "600", "5xx", "500;502")]
    + [("min_wait", value) for value in ("", "soon", "-1s", "1 s")],
)
def test_what_cannot_be_read_is_not_given(name, value):
    """An invalid value falls back to the policy, and takes no other with it."""
    assert policy(**{name: value}) == POLICY
    assert policy(**{name: value}, max_wait="5s").max_wait == 5


@given(st.dictionaries(st.sampled_from(["attempts", "codes", "min_wait", "max_wait"]), st.text(max_size=12)))
def test_any_text_gives_a_policy(given_annotations):
    """Never an error."""
    assert policy(**given_annotations).attempts >= 1
