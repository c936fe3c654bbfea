"""How many synchronous calls of a function may run, and how many calls may come in a time. Synchronous sums, no waiting."""

from __future__ import annotations

from collections.abc import Container

from faasd_py.config import RateSettings


class Bucket:
    """A token bucket: `calls` tokens at most, refilled evenly once `per` (seconds)."""

    __slots__ = ("_at", "_capacity", "_fill", "_tokens")

    def __init__(self, rate: RateSettings, now: float) -> None:
        self._capacity = float(rate.calls)
        self._fill = rate.calls / rate.per
        self._tokens = self._capacity
        self._at = now

    def take(self, now: float) -> float:
        """0.0 when a call may pass (a token is taken), else the seconds until one may."""
        self._tokens = min(self._capacity, self._tokens + max(0.0, now - self._at) * self._fill)
        self._at = now
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        return (1.0 - self._tokens) / self._fill


class Rates:
    """The buckets of the functions that have a rate; a function whose rate changed gets a fresh one."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[RateSettings, Bucket]] = {}

    def wait(self, label: str, rate: RateSettings, now: float) -> float:
        """Seconds that a call of this function must wait; 0.0: it may pass now."""
        known = self._buckets.get(label)
        if known is None or known[0] is not rate:
            known = self._buckets[label] = (rate, Bucket(rate, now))
        return known[1].take(now)

    def keep(self, labels: Container[str]) -> None:
        """Forget the buckets of functions that are not among these."""
        for label in [label for label in self._buckets if label not in labels]:
            del self._buckets[label]
