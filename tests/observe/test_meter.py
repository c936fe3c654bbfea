"""Meters: what is counted, and how cheaply."""

import timeit

from faasd_py.observe.meter import BUCKETS, SUM, Meter


def test_begin_and_finish_count():
    """A call is in flight between begin and finish, and stays counted as started."""
    meter = Meter("resize.openfaas-fn")
    meter.begin()
    meter.begin()
    assert (meter.started, meter.inflight) == (2, 2)
    meter.finish(200, 0.02)
    assert (meter.started, meter.inflight) == (2, 1)
    assert list(meter.rows) == [200]


def test_a_duration_on_a_bound_belongs_to_it():
    """Prometheus' `le` is less or equal: 5 ms exactly lies in the first bucket, a hair more in the second."""
    meter = Meter("a.b")
    meter.finish(200, 0.005)
    meter.finish(200, 0.005001)
    assert meter.rows[200][:3] == [1, 1, 0]


def test_what_is_over_every_bound_is_in_the_last_count():
    """Eleven bounds, and one more count for what is slower; the row's last place is the sum of seconds."""
    meter = Meter("a.b")
    meter.finish(504, 60.0)
    meter.finish(504, 11.5)
    row = meter.rows[504]
    assert len(row) == len(BUCKETS) + 2
    assert row[len(BUCKETS)] == 2
    assert row[SUM] == 71.5


def test_statuses_have_rows_of_their_own():
    """Rows appear with the first call of a status and do not touch each other."""
    meter = Meter("a.b")
    for status in (200, 404, 200, 499):
        meter.finish(status, 0.0)
    assert {status: sum(row[:SUM]) for status, row in meter.rows.items()} == {200: 2, 404: 1, 499: 1}


def test_repr_says_what_matters():
    """A meter in an assertion tells its label and its figures."""
    meter = Meter("a.b")
    meter.begin()
    assert repr(meter) == "<Meter a.b: 1 started, 1 in flight>"


def test_counting_a_call_is_cheap():
    """Together, begin and finish stay below 1.2 µs (the best of several runs, for the box is shared)."""
    meter = Meter("a.b")

    def call() -> None:
        meter.begin()
        meter.finish(200, 0.003)

    assert min(timeit.repeat(call, number=20_000, repeat=7)) / 20_000 < 1.2e-6
