"""Pure. Metric families in Prometheus' text format, a line at a time, from plain numbers.

The format is version 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/); labels stand in alphabetical
order, numbers are floating point. A line is made when it is asked for, so that a page can be made in steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from faasd_py.observe.meter import BUCKETS, SUM

BOUNDS: Final = (*(f"{bound:g}" for bound in BUCKETS), "+Inf")
Labels = tuple[str, ...]
Samples = Iterable[tuple[Labels, float]]
Lines = Iterator[str]


def counter(name: str, text: str, labels: Labels, samples: Samples) -> Lines:
    """A counter whose name ends in `_total`, which is left out here."""
    return _family(f"{name}_total", text, "counter", labels, samples)


def plain_counter(name: str, text: str, labels: Labels, samples: Samples) -> Lines:
    """A counter whose name in OpenFaaS has no `_total`."""
    return _family(name, text, "counter", labels, samples)


def gauge(name: str, text: str, labels: Labels, samples: Samples) -> Lines:
    """A gauge."""
    return _family(name, text, "gauge", labels, samples)


def histogram(name: str, text: str, labels: Labels, rows: Iterable[tuple[Labels, list[float]]]) -> Lines:
    """Seconds, from the rows of `meter.Timings`."""
    yield _head(name, text, "histogram")
    bucket = _Sample(f"{name}_bucket", (*labels, "le"))
    count, total = _Sample(f"{name}_count", labels), _Sample(f"{name}_sum", labels)
    for values, row in rows:
        counts, seconds = list(accumulate(row[:SUM])), row[SUM]
        for bound, number in zip(BOUNDS, counts, strict=True):
            yield bucket.line((*values, bound), number)
        yield count.line(values, counts[-1])
        yield total.line(values, seconds)


def by(counts: Mapping[str, float]) -> Samples:
    """The counts of a dict that goes on changing, by their only label."""
    return [((name,), number) for name, number in dict(counts).items()]


def _family(name: str, text: str, kind: str, labels: Labels, samples: Samples) -> Lines:
    yield _head(name, text, kind)
    line = _Sample(name, labels).line
    for values, number in samples:
        yield line(values, number)


def _head(name: str, text: str, kind: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


class _Sample:
    """How the samples of one name are written."""

    def __init__(self, name: str, labels: Labels) -> None:
        order = sorted(range(len(labels)), key=labels.__getitem__)
        self._order = None if order == list(range(len(labels))) else order
        words = ",".join(f'{labels[index]}="%s"' for index in order)
        self._form = f"{name}{{{words}}} %r\n" if words else f"{name} %r\n"

    def line(self, values: Labels, number: float) -> str:
        if self._order is not None:
            values = tuple([values[index] for index in self._order])
        if _special(values):
            values = tuple(map(_escaped, values))
        return self._form % (*values, float(number))


def _special(values: Labels) -> bool:
    word = "".join(values)
    return '"' in word or "\\" in word or "\n" in word


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
