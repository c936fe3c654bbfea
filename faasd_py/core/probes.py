"""Pure. How replicas are asked whether they are ready, and whether they are well.

    com.openfaas.ready.http.path     answers 2xx while calls may be given to it
    com.openfaas.health.http.path    answers 2xx while it need not be replaced

and for both, in place of `path`: initialDelaySeconds, periodSeconds, timeoutSeconds, successThreshold, failureThreshold.
A value that cannot be read counts as not given, as in OpenFaaS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

READY: Final = "com.openfaas.ready.http."
HEALTH: Final = "com.openfaas.health.http."
PERIOD: Final = 10.0
_TIMEOUT: Final = 5.0
_FAILURES: Final = 3
_SHORTEST: Final = 0.01


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """GET `path` each `period`, from `delay` after the start on; an answer may take `timeout`. All in seconds.

    After `failures` bad answers in a row it is unwell, after `successes` good ones well again.
    """

    path: str
    delay: float = 0.0
    period: float = PERIOD
    timeout: float = _TIMEOUT
    successes: int = 1
    failures: int = _FAILURES


class Tally:
    """The answers to a probe, one after the other: is it well?"""

    def __init__(self, probe: Probe, *, well: bool) -> None:
        self._probe = probe
        self._row = 0
        """Answers in a row that speak against what is so far."""
        self.well = well

    def count(self, *, good: bool) -> bool:
        """Whether it is well, after one more answer."""
        self._row = 0 if good is self.well else self._row + 1
        if self._row >= (self._probe.failures if self.well else self._probe.successes):
            self.well, self._row = not self.well, 0
        return self.well


def ready_probe(path: str | None, annotations: Mapping[str, str]) -> Probe | None:
    """From `ready_path`, and over it the annotations; None when a connection is enough."""
    return _probe(READY, path, PERIOD, annotations)


def health_probe(path: str | None, period: float, annotations: Mapping[str, str]) -> Probe | None:
    """From `health_path` and `health_interval`, and over them the annotations; None when nobody asks."""
    return _probe(HEALTH, path, period, annotations)


def watched(annotations: Mapping[str, str]) -> bool:
    """Whether readiness is asked for all along, not just at the start: OpenFaaS' way."""
    return _path(annotations.get(READY + "path")) is not None


def _probe(prefix: str, path: str | None, period: float, annotations: Mapping[str, str]) -> Probe | None:
    path = _path(annotations.get(prefix + "path")) or _path(path)
    if path is None:
        return None
    given = {key.removeprefix(prefix): text for key, text in annotations.items() if key.startswith(prefix)}
    return Probe(
        path=path,
        delay=_seconds(given.get("initialDelaySeconds"), 0.0, 0.0),
        period=_seconds(given.get("periodSeconds"), period, _SHORTEST),
        timeout=_seconds(given.get("timeoutSeconds"), _TIMEOUT, _SHORTEST),
        successes=_count(given.get("successThreshold"), 1),
        failures=_count(given.get("failureThreshold"), _FAILURES),
    )


def _path(text: str | None) -> str | None:
    """With its slash; None for what cannot stand in a request."""
    if not text or not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        return None
    return "/" + text.lstrip("/")


def _seconds(text: str | None, default: float, least: float) -> float:
    try:
        number = float(text or "")
    except ValueError:
        return default
    return max(least, number) if 0 <= number <= 1_000_000 else default


def _count(text: str | None, default: int) -> int:
    if text is None or not (text.isascii() and text.isdigit() and len(text) < 7):
        return default
    return int(text) or default
