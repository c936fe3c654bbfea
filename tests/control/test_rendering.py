"""From the daemon's values to answers: times, header fields, queries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.control import query, rendering
from faasd_py.core.call import Call, Spooled
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.1239, "2023-11-14T22:13:20.123Z"),
        (4_102_444_800.0, "2100-01-01T00:00:00.000Z"),
    ],
)
def test_instants(seconds, text):
    """RFC 3339 in UTC, to the millisecond."""
    assert rendering.instant(seconds) == text
    assert rendering.instant_or_none(None) is None


@pytest.mark.parametrize(
    ("block", "pairs"),
    [
        (b"", []),
        (b"A: b\r\n", [("A", "b")]),
        (b"A:b\r\nA: c: d \r\n", [("A", "b"), ("A", "c: d")]),
        (
            b"AUTHORIZATION: x\r\nset-cookie:y\r\n",
            [("AUTHORIZATION", "[hidden]"), ("set-cookie", "[hidden]")],
        ),
        (b"X-\xff: \xe9\r\n", [("X-\xff", "\xe9")]),
    ],
)
def test_fields(block, pairs):
    """Pairs in their order, repeated ones too, credentials hidden."""
    assert rendering.fields(block) == pairs


def test_large_bodies_are_not_put_into_answers():
    """They are had by their own path; the size is told."""
    large = b"x" * (rendering.INLINE + 1)
    assert rendering.request_view(Call(lane="a.b", body=large)).body is None
    assert rendering.request_view(Call(lane="a.b", body=large)).size == len(large)
    assert rendering.request_view(Call(lane="a.b", body=large[1:])).body == large[1:]
    assert rendering.result_view(Outcome(status=200, body=Spooled("/x", 5), size=5)).body is None


def test_a_filter_of_nothing():
    """No parameters: everything, as many as the default says."""
    asked = query.read({}, ("state",), "openfaas-fn", 100)
    assert (asked.which.lane, asked.which.state, asked.which.before, asked.limit) == (None, None, None, 100)


def test_a_filter_of_everything():
    """The default namespace is added."""
    words = {"state": "dead", "function": "a", "before": "id", "limit": "1000"}
    asked = query.read(words, tuple(words), "team", 1)
    assert (asked.which.lane, asked.which.state, asked.which.before) == ("a.team", State.DEAD, "id")
    assert asked.limit == 1000


@given(st.dictionaries(st.sampled_from(["state", "function", "before", "limit", "x"]), st.text(max_size=20)))
def test_any_query_is_a_filter_or_a_sentence(words):
    """Never anything else."""
    try:
        asked = query.read(words, ("state", "function", "before", "limit"), "openfaas-fn", 7)
    except ValueError as error:
        assert any(str(error).startswith(f"{key}: ") for key in words)
    else:
        assert 1 <= asked.limit <= query.MAX_LIMIT
