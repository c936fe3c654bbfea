"""How many replicas: labels over settings, and a load that comes and goes."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.scaling import PREFIX, Load, Scaler, Scaling, alerted, needed, scaling

MANY = Scaling(min=1, max=10, hold=60)


def labelled(smallest=1, largest=1, idle=300.0, **labels):
    """Keywords are labels, with `_` for `-`."""
    return scaling(
        smallest,
        largest,
        idle,
        {PREFIX + name.replace("_", "-"): text for name, text in labels.items()} | {"other": "x"},
    )


def test_without_labels_the_settings_are_in_force():
    """One more replica as soon as each has a call; min 0 sleeps, and begins asleep."""
    assert labelled(1, 3, 60) == Scaling(min=1, max=3, start=1, zero_after=60, hold=60)
    assert labelled(0, 3, 60) == Scaling(min=1, max=3, start=0, zero=True, zero_after=60, hold=60)
    assert labelled().fixed
    assert not labelled(0, 1).fixed


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({"min": "2", "max": "5"}, {"min": 2, "max": 5, "start": 2}),
        ({"min": "4"}, {"min": 4, "max": 4, "start": 4}),
        ({"max": "4"}, {"max": 4}),
        ({"min": "3", "max": "2"}, {"min": 3, "max": 3, "start": 3}),
        ({"min": "0"}, {"min": 1, "start": 0, "zero": True}),
        ({"zero": "true"}, {"zero": True, "start": 1}),
        ({"zero": "TRUE", "min": "2"}, {"zero": True, "start": 2, "min": 2, "max": 2}),
        ({"zero": "true", "zero_duration": "15m"}, {"zero": True, "zero_after": 900.0}),
        ({"zero_duration": "90"}, {"zero_after": 90.0}),
        ({"type": "rps"}, {"kind": "rps", "full": 45.0}),
        ({"target": "100"}, {"kind": "rps", "full": 90.0}),
        ({"type": "capacity", "target": "10", "target_proportion": "0.5"}, {"full": 5.0}),
        ({"type": "cpu", "target": "500"}, {"kind": "cpu", "full": 450.0}),
        ({"max": "99999"}, {"max": 10_000}),
        ({"target": " 2.5 "}, {"target": 2.5}),
        ({"type": "capacity", "target": "x"}, {"target": None}),
    ],
)
def test_labels(labels, expected):
    """OpenFaaS' names and meanings, with its target of 50 and proportion of 0.9."""
    found = labelled(**labels)
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected)


@pytest.mark.parametrize(
    ("name", "text"),
    [("min", text) for text in ("", "-1", "many", "1.5", "²", "123456789")]
    + [("max", "none"), ("zero", "yes"), ("zero_duration", "soon"), ("zero_duration", "0")]
    + [("target", text) for text in ("0", "-1", "nan", "inf", "x")]
    + [("type", "memory"), ("target_proportion", "0.5"), ("target_proportion", "2")],
)
def test_what_cannot_be_read_is_not_given(name, text):
    """The settings' own stays."""
    assert labelled(2, 3, 60, **{name: text}) == labelled(2, 3, 60)


@pytest.mark.parametrize(
    ("current", "bounds", "labels", "firing", "wanted"),
    [
        (1, (1, 1), {"max": "5"}, True, 2),
        (1, (1, 1), {"max": "100", "factor": "1"}, True, 2),
        (1, (1, 1), {"max": "100", "factor": "100"}, True, 100),
        (4, (1, 1), {"max": "20", "factor": "11"}, True, 7),
        (30, (1, 1), {"max": "20"}, True, 20),
        (0, (1, 1), {"max": "5"}, True, 1),
        (9, (1, 1), {"max": "20", "min": "0"}, False, 0),
        (9, (0, 1), {"max": "20", "zero": "false"}, False, 1),
        (9, (1, 1), {"max": "3", "min": "4"}, True, 4),
        (9, (1, 1), {}, False, 1),
        (1, (1, 8), {}, True, 2),
        (9, (2, 8), {}, False, 2),
        (1, (1, 8), {"max": "1e3", "min": "", "factor": "a lot"}, True, 2),
    ],
)
def test_an_alert(current, bounds, labels, firing, wanted):
    """The present ones + ceil(max / 100 * factor), at most max; when it is over, as at the beginning."""
    assert alerted(labelled(*bounds, **labels), current, firing=firing) == wanted


@pytest.mark.parametrize("factor", ["0", "101"])
def test_a_factor_that_openfaas_refuses(factor):
    """Is refused when an alert fires, and of no matter when it is over."""
    scaling = labelled(1, 5, factor=factor)
    with pytest.raises(ValueError, match=f"factor: expected a whole number from 1 to 100, got {factor}"):
        alerted(scaling, 1, firing=True)
    assert alerted(scaling, 3, firing=False) == 1


def test_zero_false_keeps_one_up():
    """A label says more than replicas.min."""
    assert labelled(0, 2, zero="false") == labelled(1, 2)


@pytest.mark.parametrize(
    ("kind", "full", "load", "expected"),
    [
        ("capacity", 1.0, Load(inflight=0), 0),
        ("capacity", 1.0, Load(inflight=3), 3),
        ("capacity", 45.0, Load(inflight=45), 1),
        ("capacity", 45.0, Load(inflight=46), 2),
        ("rps", 45.0, Load(inflight=1000, rps=90.0), 2),
        ("rps", 45.0, Load(rps=90.1), 3),
        ("cpu", 450.0, Load(rps=5, millicores=1350.0), 3),
        ("rps", 1e-9, Load(rps=1e9), 10_000),
    ],
)
def test_needed(kind, full, load, expected):
    """What there is, by what one replica is for."""
    assert needed(Scaling(kind=kind, full=full), load) == expected


def test_up_at_once_and_down_after_a_while():
    """The most that was needed during `hold` is kept."""
    scaler = Scaler(MANY, 0.0)
    wanted = [
        scaler.look(now, Load(inflight=load))
        for now, load in ((1, 4), (2, 0), (30, 7), (61, 2), (89, 0), (90, 0))
    ]
    assert wanted == [4, 4, 7, 7, 7, 2]
    assert scaler.next_change() == 121
    assert scaler.look(121, Load()) == 1
    assert scaler.next_change() == math.inf


def test_growth_without_a_look():
    """One more when all are full, up to the maximum, and kept as if it had been needed."""
    scaler = Scaler(Scaling(max=3, hold=60), 0.0)
    assert [scaler.grow(1), scaler.grow(1), scaler.grow(1)] == [True, True, False]
    assert scaler.wanted == 3
    assert scaler.look(60, Load()) == 3
    assert scaler.look(61, Load()) == 1


def test_sleep_and_waking():
    """After `zero_after` without a call none is wanted, until one comes: then `min` are."""
    scaler = Scaler(Scaling(min=2, max=5, start=2, zero=True, zero_after=10), 0.0)
    assert scaler.next_change() == 10
    assert scaler.look(5, Load(rps=1)) == 2
    assert scaler.look(14, Load()) == 2
    assert scaler.look(15, Load()) == 0
    assert (scaler.next_change(), scaler.look(1000, Load())) == (math.inf, 0)
    scaler.wake(1000)
    assert scaler.wanted == 2
    assert scaler.look(1009, Load()) == 2


def test_no_sleep_while_a_call_runs():
    """However long it takes."""
    scaler = Scaler(Scaling(zero=True, zero_after=10), 0.0)
    assert all(scaler.look(now, Load(inflight=1)) == 1 for now in range(0, 1000, 5))


def test_asleep_at_the_start():
    """With replicas.min = 0."""
    scaler = Scaler(labelled(0, 2), 0.0)
    assert scaler.wanted == 0
    scaler.wake(1)
    assert scaler.wanted == 1


def test_scale_by_hand():
    """It stays, without load and below the minimum, until the load asks for more."""
    scaler = Scaler(Scaling(min=2, max=5, start=2, hold=10), 0.0)
    scaler.scale(4, 1)
    assert [scaler.look(now, Load()) for now in (2, 100, 1000)] == [4, 4, 4]
    scaler.scale(1, 1001)
    assert [scaler.look(now, Load(inflight=1)) for now in (1002, 1100)] == [1, 1]
    assert scaler.look(1101, Load(inflight=3)) == 3
    assert scaler.look(1111, Load()) == 2
    scaler.scale(99, 1200)
    assert scaler.wanted == 5
    scaler.scale(-1, 1200)
    assert scaler.wanted == 0


def test_scaled_to_zero_is_awake_at_the_next_call():
    """Also where a function never sleeps by itself."""
    scaler = Scaler(MANY, 0.0)
    scaler.scale(0, 1)
    assert scaler.look(2, Load()) == 0
    scaler.wake(3)
    assert (scaler.wanted, scaler.automatic) == (1, True)


def test_an_expected_load():
    """As many at once, also from zero, and no more than may be; fewer again when they were not needed for a while."""
    scaler = Scaler(Scaling(min=1, max=5, start=0, zero=True, zero_after=30, hold=10), 0.0)
    scaler.expect(3, 1)
    assert [scaler.look(now, Load()) for now in (2, 10.9, 11, 30, 31)] == [3, 3, 1, 1, 0]
    scaler.expect(99, 40)
    assert scaler.wanted == 5
    scaler.scale(2, 50)
    scaler.expect(1, 51)
    assert scaler.wanted == 2


LOADS = st.lists(st.tuples(st.floats(0.01, 100), st.integers(0, 30)), max_size=60)


@given(
    bounds=st.tuples(st.integers(1, 8), st.integers(0, 8)),
    zero=st.booleans(),
    hold=st.floats(0.1, 300),
    loads=LOADS,
)
def test_any_load(bounds, zero, hold, loads):
    """Within the bounds; never fewer than needed; fewer only when nothing in `hold` needed more; asleep only when idle."""
    least, more = bounds
    rules = Scaling(min=least, max=least + more, zero=zero, zero_after=hold, hold=hold, start=least)
    scaler, now, seen = Scaler(rules, 0.0), 0.0, []
    for step, inflight in loads:
        now += step
        if inflight:
            scaler.wake(now)
        wanted = scaler.look(now, Load(inflight=inflight))
        seen.append((now, inflight))
        if wanted == 0:
            assert zero
            assert all(not load for then, load in seen if then > now - hold + 1e-6)
            continue
        assert least <= wanted <= rules.max
        assert wanted >= min(inflight, rules.max)
        recent = [load for then, load in seen if now - then < hold]
        assert wanted <= max(least, *recent)
        assert scaler.next_change() > now


@given(moves=st.lists(st.sampled_from(["grow", "wake", "look", "sleep", "0", "1", "3", "9"]), max_size=80))
def test_any_moves(moves):
    """Whoever does what, in whatever order: from 0 to the maximum, and awake after a call."""
    scaler = Scaler(Scaling(min=2, max=5, start=2, zero=True, zero_after=3, hold=4), 0.0)
    for now, move in enumerate(moves):
        if move == "look":
            scaler.look(now, Load(inflight=now % 7))
        elif move.isdigit():
            scaler.scale(int(move), now)
            assert scaler.wanted == min(5, int(move))
        elif move == "sleep":
            scaler.sleep()
        else:
            getattr(scaler, move)(now)
            assert scaler.wanted >= 1
        assert 0 <= scaler.wanted <= 5
