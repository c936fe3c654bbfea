"""Metric families as prometheus_client renders them, from plain numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from faasd_py.observe.meter import BUCKETS, SUM

BOUNDS: Final = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float]]


class Families(Collector):
    """Metric families that are already made."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self.families = families

    def collect(self) -> Iterable[Metric]:
        """The families, in their order."""
        return self.families


def counter(name: str, text: str, labels: Labels, samples: Samples) -> Metric:
    """A counter whose name ends in `_total`, which is left out here."""
    family = CounterMetricFamily(name, text, labels=labels)
    for values, number in list(samples):
        family.add_metric(values, number)
    return family


def plain_counter(name: str, text: str, samples: Iterable[tuple[str, float]]) -> Metric:
    """A counter by function whose name in OpenFaaS has no `_total`; `typed` makes it one on the page."""
    family = Metric(name, text, "unknown")
    for function, number in samples:
        family.add_sample(name, {"function_name": function}, number)
    return family


def typed(page: bytes, *names: str) -> bytes:
    """The page with these called counters: prometheus_client would give them the suffix."""
    for name in names:
        page = page.replace(f"# TYPE {name} untyped".encode(), f"# TYPE {name} counter".encode())
    return page


def gauge(name: str, text: str, labels: Labels, samples: Samples) -> Metric:
    """A gauge."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, number in list(samples):
        family.add_metric(values, number)
    return family


def histogram(name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, list[float]]]) -> Metric:
    """Seconds, from the rows of `meter.Timings`."""
    family = HistogramMetricFamily(name, text, labels=labels)
    for values, row in rows:
        counts = zip(BOUNDS, accumulate(row[:SUM]), strict=True)
        family.add_metric(values, list(counts), row[SUM])
    return family


def by(counts: Mapping[str, float]) -> Samples:
    """The counts of a dict that goes on changing, by their only label."""
    return [((name,), number) for name, number in dict(counts).items()]
