"""Probes: annotations over settings, and when a row of answers counts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.probes import HEALTH, READY, Probe, Tally, health_probe, ready_probe, watched


def test_without_paths_nobody_asks():
    """Other annotations of a probe mean nothing then."""
    annotations = {READY + "periodSeconds": "3", HEALTH + "failureThreshold": "1"}
    assert ready_probe(None, annotations) is None
    assert health_probe(None, 10, annotations) is None
    assert not watched(annotations)


def test_settings():
    """A slash is added."""
    assert ready_probe("ready", {}) == Probe(path="/ready")
    assert health_probe("/h?full=1", 30, {}) == Probe(path="/h?full=1", period=30)


def test_annotations_win():
    """Each in its field."""
    names = (
        "path",
        "initialDelaySeconds",
        "periodSeconds",
        "timeoutSeconds",
        "successThreshold",
        "failureThreshold",
    )
    values = ("/_/ok", "1.5", "2", "3", "4", "5")
    expected = Probe(path="/_/ok", delay=1.5, period=2, timeout=3, successes=4, failures=5)
    for prefix, probe in (
        (READY, lambda given: ready_probe("/other", given)),
        (HEALTH, lambda given: health_probe("/other", 99, given)),
    ):
        assert probe({prefix + name: value for name, value in zip(names, values, strict=True)}) == expected
    assert watched({READY + "path": "/x"})


@pytest.mark.parametrize(
    ("name", "text"),
    [("path", text) for text in ("", "/a b", "/ü", "/\r\nX: y", "/\x7f")]
    + [("periodSeconds", text) for text in ("", "x", "-1", "nan", "inf", "1e9", "2s")]
    + [("failureThreshold", text) for text in ("", "0", "-1", "1.5", "x", "99999999")],
)
def test_what_cannot_be_read_is_not_given(name, text):
    """Nor can it end up in a request."""
    assert health_probe("/h", 7, {HEALTH + name: text}) == Probe(path="/h", period=7)


def test_a_period_of_zero_is_short():
    """Nobody is asked without a pause."""
    assert health_probe("/h", 7, {HEALTH + "periodSeconds": "0"}).period == 0.01


def test_rows_count():
    """Three bad ones in a row, then two good ones."""
    tally = Tally(Probe(path="/", failures=3, successes=2), well=True)
    answers = [False, False, True, False, False, False, True, False, True, True]
    assert [tally.count(good=good) for good in answers] == [
        True, True, True, True, True, False, False, False, False, True,
    ]  # fmt: skip


@given(answers=st.lists(st.booleans()), failures=st.integers(1, 5), successes=st.integers(1, 5))
def test_any_answers(answers, failures, successes):
    """It changes exactly when the last so many say so."""
    tally, well = Tally(Probe(path="/", failures=failures, successes=successes), well=True), True
    since = 0
    for number, good in enumerate(answers, 1):
        row = answers[max(since, number - (failures if well else successes)) : number]
        turns = len(row) == (failures if well else successes) and all(answer is not well for answer in row)
        if turns:
            well, since = not well, number
        assert tally.count(good=good) is well
