"""Pure. How many replicas a function should have: what its settings and labels say, and what its load asks for.

    com.openfaas.scale.min                replicas that are up while it is awake
    com.openfaas.scale.max                replicas at most
    com.openfaas.scale.zero               true: it sleeps when it has been idle
    com.openfaas.scale.zero-duration      for how long it must have been idle
    com.openfaas.scale.type               capacity (calls in flight), rps (calls a second), cpu (thousandths of a core)
    com.openfaas.scale.target             of that, what one replica is for
    com.openfaas.scale.target-proportion  the part of the target from which on another replica is wanted
    com.openfaas.scale.factor             the step of an alert, in hundredths of the most replicas

A value that cannot be read counts as not given, as in OpenFaaS.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Final, Literal

import msgspec

from faasd_py.core.durations import parse_duration

PREFIX: Final = "com.openfaas.scale."
Kind = Literal["capacity", "rps", "cpu"]
_TARGET: Final = 50.0
_PROPORTION: Final = 0.9
_FACTOR: Final = 10
_MOST: Final = 10_000
"""Replicas: a number above is a slip of the pen."""


class Scaling(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked of the number of replicas. Times are in seconds.

    `min` (at least 1) are up while it is awake, `start` at the beginning and when an alert is over: 0 where it may sleep.
    `zero` lets it sleep after `zero_after` without a call. `full` is what one replica is for: calls in flight, calls a second
    or thousandths of a core, as `kind` says; `target` is the label that it was made of, None without one. What was needed is
    kept for `hold`. `factor` is as it was given, whatever it is.
    """

    min: int = 1
    max: int = 1
    start: int = 1
    zero: bool = False
    zero_after: float = 300.0
    kind: Kind = "capacity"
    full: float = 1.0
    hold: float = 300.0
    target: float | None = None
    factor: int = _FACTOR

    @property
    def fixed(self) -> bool:
        """Load changes nothing."""
        return self.min == self.max and not self.zero


class Load(msgspec.Struct, frozen=True):
    """Since the last look: calls in flight at most, calls a second, thousandths of a core; of all replicas together."""

    inflight: int = 0
    rps: float = 0.0
    millicores: float = 0.0

    @property
    def quiet(self) -> bool:
        """No call ran."""
        return not self.inflight and not self.rps


def scaling(smallest: int, largest: int, idle: float, labels: Mapping[str, str]) -> Scaling:
    """`replicas = { min, max }` and `idle_timeout`, and over them the labels. The only reader of these labels there is.

    Without a type or a target among the labels, one more replica is wanted as soon as each has a call.
    """
    given = {key.removeprefix(PREFIX): text.strip() for key, text in labels.items() if key.startswith(PREFIX)}
    least = _whole(given.get("min"), smallest)
    zero = _truth(given.get("zero"), default=least == 0)
    minimum = max(1, least)
    after = _duration(given.get("zero-duration"), idle)
    target = _positive(given.get("target"))
    kind, full = _target(given, target)
    return Scaling(
        min=minimum,
        max=max(minimum, _whole(given.get("max"), largest)),
        start=0 if zero and least == 0 else minimum,
        zero=zero,
        zero_after=after,
        kind=kind,
        full=full,
        hold=idle,
        target=target,
        factor=_whole(given.get("factor"), _FACTOR),
    )


def alerted(scaling: Scaling, current: int, *, firing: bool) -> int:
    """How many replicas there should be when an alert fires or is over (OpenFaaS wire contract §1.4).

    Raises:
        ValueError: the factor is none that OpenFaaS takes.
    """
    if not firing:
        return scaling.start
    if not 1 <= scaling.factor <= 100:
        raise ValueError(f"{PREFIX}factor: expected a whole number from 1 to 100, got {scaling.factor}")
    return min(scaling.max, current + -(-scaling.max * scaling.factor // 100))


def _target(given: Mapping[str, str], target: float | None) -> tuple[Kind, float]:
    named = given.get("type")
    kind: Kind = "capacity" if named == "capacity" else "cpu" if named == "cpu" else "rps"
    if target is None and named not in {"capacity", "rps", "cpu"}:
        return "capacity", 1.0
    proportion = _positive(given.get("target-proportion"))
    if proportion is None or proportion > 1:
        proportion = _PROPORTION
    return kind, (_TARGET if target is None else target) * proportion


def _whole(text: str | None, default: int) -> int:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 8):
        return default
    return min(int(text), _MOST)


def _positive(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 < number < math.inf else None


def _truth(text: str | None, *, default: bool) -> bool:
    return {"true": True, "1": True, "false": False, "0": False}.get((text or "").lower(), default)


def _duration(text: str | None, default: float) -> float:
    if text is None:
        return default
    try:
        return parse_duration(text) or default
    except ValueError:
        return default


def needed(scaling: Scaling, load: Load) -> int:
    """Replicas that the load asks for, 0 for none, whatever the bounds."""
    measured = {"capacity": float(load.inflight), "rps": load.rps, "cpu": load.millicores}[scaling.kind]
    return min(_MOST, math.ceil(measured / scaling.full - 1e-9))


class Scaler:
    """How many replicas are `wanted` now. Every method takes the time, in seconds of any clock that only goes forward.

    More are wanted at once, fewer when nothing asked for them during `hold`, so that a load that comes and goes does not
    start and stop replicas. What somebody set by `scale` stays until the load asks for more, or the function sleeps.
    """

    def __init__(self, scaling: Scaling, now: float) -> None:
        self._scaling = scaling
        self._set: int | None = None
        self._peaks: deque[tuple[float, int]] = deque()
        """What was needed when, the greatest first: a later one that is as great makes an earlier one idle talk."""
        self._active = now
        self.wanted = scaling.start

    @property
    def floor(self) -> int:
        """What is wanted without any load."""
        return self._scaling.min if self._set is None else self._set

    @property
    def automatic(self) -> bool:
        """Nobody's `scale` is in force."""
        return self._set is None

    def wake(self, now: float) -> None:
        """A call came."""
        self._active = now
        if not self.wanted:
            self._set = None
            self.wanted = self._scaling.min

    def grow(self, now: float) -> bool:
        """One more at once, for every replica is full; False when there are as many as there may be."""
        if self.wanted >= self._scaling.max:
            return False
        self._need(now, self.wanted + 1)
        self.wanted += 1
        return True

    def scale(self, wanted: int, now: float) -> None:
        """So many, from 0 to the maximum; 0: asleep until the next call."""
        self._set = max(0, min(wanted, self._scaling.max))
        self._peaks.clear()
        self._active = now
        self.wanted = self._set

    def expect(self, wanted: int, now: float) -> None:
        """A load that so many were needed for is about to come."""
        self._active = now
        self._need(now, wanted)
        self.wanted = self._held(now)

    def look(self, now: float, load: Load) -> int:
        """How many are wanted, now that this was the load; 0 stays 0 until somebody calls."""
        if not load.quiet:
            self._active = now
        if self.wanted:
            self._need(now, needed(self._scaling, load))
            self.wanted = self._held(now)
            if self._scaling.zero and load.quiet and self._active + self._scaling.zero_after <= now:
                self.sleep()
        return self.wanted

    def sleep(self) -> None:
        """None is wanted until the next call."""
        self._set = None
        self._peaks.clear()
        self.wanted = 0

    def next_change(self) -> float:
        """When fewer may be wanted although nothing happens; infinity for never."""
        if not self.wanted:
            return math.inf
        fewer = self._peaks[0][0] + self._scaling.hold if self._peaks else math.inf
        asleep = self._active + self._scaling.zero_after if self._scaling.zero else math.inf
        return min(fewer, asleep)

    def _need(self, now: float, replicas: int) -> None:
        replicas = min(replicas, self._scaling.max)
        if self._set is not None and replicas > self._set:
            self._set = None
        while self._peaks and self._peaks[-1][1] <= replicas:
            self._peaks.pop()
        if replicas > self.floor:
            self._peaks.append((now, replicas))

    def _held(self, now: float) -> int:
        while self._peaks and self._peaks[0][0] + self._scaling.hold <= now:
            self._peaks.popleft()
        return max(self.floor, self._peaks[0][1] if self._peaks else 0)
