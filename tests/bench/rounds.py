"""Taking turns: in each round every variant runs for a slice of time; ratios are taken within a round.

What disturbs the machine for longer than a round disturbs all variants alike, and the ratio stays.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence

Sample = Mapping[str, float]
Slice = Callable[[], Sample]


class Series:
    """One figure over the rounds."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = list(values)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)

    def __truediv__(self, other: Series) -> Series:
        """The ratio, round by round."""
        return Series([mine / theirs for mine, theirs in zip(self.values, other.values, strict=True)])

    def __repr__(self) -> str:
        return f"<Series {self.median:.4g} ({self.low:.4g} … {self.high:.4g}) of {len(self.values)}>"


class Rounds:
    """What was measured: for each variant, each of its figures as a Series."""

    def __init__(self) -> None:
        self._samples: dict[str, list[Sample]] = {}

    def add(self, variant: str, sample: Sample) -> None:
        self._samples.setdefault(variant, []).append(sample)

    def __contains__(self, variant: str) -> bool:
        return variant in self._samples

    @property
    def variants(self) -> list[str]:
        return list(self._samples)

    def figures(self, variant: str) -> list[str]:
        return list(self._samples[variant][0])

    def series(self, variant: str, figure: str) -> Series:
        return Series([sample[figure] for sample in self._samples[variant]])

    def ratio(self, one: str, other: str, figure: str = "rate") -> Series:
        """One variant's figure over another's, within each round."""
        return self.series(one, figure) / self.series(other, figure)


def take_turns(slices: Mapping[str, Slice], count: int, title: str) -> Rounds:
    """Run all slices `count` times, one after the other; every second round goes the other way round."""
    rounds = Rounds()
    for number in range(count):
        say(f"{title}: round {number + 1} of {count}")
        order = list(slices) if number % 2 == 0 else list(reversed(slices))
        for variant in order:
            rounds.add(variant, slices[variant]())
    return rounds


def say(text: str) -> None:
    """Progress, for whoever waits."""
    sys.stderr.write(f"{text}\n")
