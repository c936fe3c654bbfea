"""When a schedule comes due, from the words that people write (OpenFaaS wire contract §2.8, cron-connector).

    */5 8-18 * * MON-FRI      minute, hour, day of month, month, day of week, as Debian's cron reads them
    @hourly                   also @daily or @midnight, @weekly, @monthly, @yearly or @annually
    @every 1m30s              at the whole multiples of it since 1970: a restart does not begin anew
    CRON_TZ=Europe/Vienna 0 6 * * *

A moment at which it comes due is a *slot*, in seconds since 1970. Where clocks are set forward, what would have been
in the hour that is left out is due at once; where they are set back, a given time of day is due once, in the first of
the two hours; what is due every hour or oftener (`*` as minute or hour) goes on evenly.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime, tzinfo
from math import floor, inf
from pathlib import Path
from typing import Final, Protocol
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from faasd_py.core.durations import parse_duration

TOPIC: Final = "cron-function"
"""The topic whose functions the cron-connector calls."""
_NAMED: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_EVERY: Final = "@every"
_ZONE: Final = re.compile(r"(?:CRON_)?TZ=(\S*)\s*(.*)", re.DOTALL)
_EXAMPLE: Final = 'five fields like "*/5 * * * *", "@hourly" or "@every 5m"'
_LONGEST: Final = 500
_SOME_DAY: Final = 946684800.0


class _Clockwork(Protocol):
    """What one expression comes to."""

    def after(self, moment: float) -> float: ...

    def until(self, moment: float) -> float: ...


class Schedule:
    """One or more expressions together: a slot of several of them is one slot.

    Args:
        texts: the expressions.
        zone: whose time it is for those without CRON_TZ.

    Raises:
        ValueError: one sentence saying what was expected.
    """

    def __init__(self, texts: tuple[str, ...], zone: tzinfo = UTC) -> None:
        self.texts = texts
        self._parts = [_part(text, zone) for text in texts]

    def __repr__(self) -> str:
        return f"<Schedule {'; '.join(self.texts)}>"

    def after(self, moment: float) -> float:
        """The first slot later than `moment`; infinite when there is none within fifty years."""
        return min((part.after(moment) for part in self._parts), default=inf)

    def until(self, moment: float) -> float:
        """The last slot that is not later than `moment`; minus infinite when there is none within fifty years."""
        return max((part.until(moment) for part in self._parts), default=-inf)


def check(text: str) -> None:
    """Raises ValueError, one sentence, when the expression cannot be read or never comes due."""
    _part(text, UTC)


class _Every:
    """`@every`."""

    def __init__(self, period: int) -> None:
        self._period = period

    def after(self, moment: float) -> float:
        return float((floor(moment / self._period) + 1) * self._period)

    def until(self, moment: float) -> float:
        return float(floor(moment / self._period) * self._period)


class _Fields:
    """Five fields in a time zone."""

    def __init__(self, fields: str, zone: tzinfo) -> None:
        self._fields = fields
        self._zone = zone

    def after(self, moment: float) -> float:
        coming = CronSim(self._fields, datetime.fromtimestamp(floor(moment), self._zone))
        for due in coming:  # in the second of two equal hours the first it names may be past
            if (slot := due.timestamp()) > moment:
                return slot
        return inf

    def until(self, moment: float) -> float:
        past = CronSim(self._fields, datetime.fromtimestamp(floor(moment) + 1, self._zone), reverse=True)
        slot = next((slot for due in past if (slot := due.timestamp()) <= moment), -inf)
        while slot > -inf and (later := self.after(slot)) <= moment:
            slot = later
        return slot


def _part(text: str, zone: tzinfo) -> _Clockwork:
    rest = text.strip()
    if len(rest) > _LONGEST:
        raise ValueError(f"expected at most {_LONGEST} characters, got {len(rest)}")
    if match := _ZONE.fullmatch(rest):
        zone, rest = _zone(match[1]), match[2]
    if rest.split(maxsplit=1)[:1] == [_EVERY]:
        return _Every(_period(rest))
    return _fields(_NAMED.get(rest, rest), zone, text)


def _fields(fields: str, zone: tzinfo, text: str) -> _Fields:
    words = fields.split()
    if fields.startswith("@") or len(words) != 5:
        raise ValueError(f"expected {_EXAMPLE}, got {text[:80]!r}")
    fields = " ".join("*" if word == "?" else word for word in words)
    try:
        found = _Fields(fields, zone)
        if found.after(_SOME_DAY) < inf:
            return found
    except CronSimError as error:
        raise ValueError(f"{_reason(error)}: expected {_EXAMPLE}, got {text[:80]!r}") from None
    raise ValueError(f"expected a time that comes, got {text[:80]!r}")


def _reason(error: CronSimError) -> str:
    text = str(error)
    return text[:1].lower() + text[1:]


def _period(text: str) -> int:
    try:
        seconds = parse_duration(text.removeprefix(_EVERY).strip())
    except ValueError:
        seconds = None
    if seconds is None or seconds < 1 or seconds % 1:
        raise ValueError(f'expected whole seconds like "@every 90s" or "@every 1h30m", got {text[:80]!r}')
    return int(seconds)


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        raise ValueError(
            f'expected a time zone that this machine knows, like "Europe/Vienna", got {name[:80]!r}'
        ) from None


def local_zone(environment: Mapping[str, str] = os.environ) -> tzinfo:
    """This machine's time zone: $TZ, else /etc/localtime, else UTC."""
    try:
        if name := environment.get("TZ", "").removeprefix(":"):
            return ZoneInfo(name)
        with Path("/etc/localtime").open("rb") as file:
            return ZoneInfo.from_file(file, key="localtime")
    except (OSError, ValueError, KeyError):
        return UTC


def expressions(schedule: str | list[str], annotations: Mapping[str, str]) -> tuple[str, ...]:
    """What a function's setting and its annotations `topic` and `schedule` say, one expression each."""
    if not schedule and "topic" not in annotations:
        return ()
    texts = [schedule] if isinstance(schedule, str) else list(schedule)
    if TOPIC in (word.strip() for word in annotations.get("topic", "").split(",")):
        texts.append(annotations.get("schedule", ""))
    parts = (part.strip() for text in texts for part in text.split(";"))
    return tuple(dict.fromkeys(filter(None, parts)))
