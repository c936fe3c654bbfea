"""Pure. What a query of `/system/logs` asks for (OpenFaaS wire contract §1.4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from faasd_py.observe.logbook import Wanted

NANO: Final = 1_000_000_000
RECENT: Final = 300 * NANO
"""Without `since`: the lines of the last five minutes."""
_MOMENT: Final = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:[.,](\d+))?(Z|[-+]\d\d:\d\d)", re.ASCII)
_TRUE: Final = frozenset({"1", "t", "T", "true", "TRUE", "True"})
_MOST: Final = 1 << 31
Get = Callable[[str], str]
"""The last value of a parameter; empty when there is none."""


class LogQuery(msgspec.Struct, frozen=True):
    """A function, which of its lines, and whether those to come, too. `more`: with their stream and call id."""

    name: str
    namespace: str
    wanted: Wanted
    follow: bool
    more: bool

    @property
    def label(self) -> str:
        """NAME.NAMESPACE."""
        return f"{self.name}.{self.namespace}"


def read(get: Get, namespace: str, now: int) -> LogQuery:
    """The query; `namespace` is the default one, `now` in nanoseconds since 1970.

    Raises:
        ValueError: `name` is missing, or `tail` or `since` cannot be understood.
    """
    name, given = get("name"), get("namespace")
    if not given:
        name, dot, tail = name.rpartition(".")
        name, given = (name, tail) if dot else (tail, namespace)
    if not name:
        raise ValueError("name is missing")
    wanted = Wanted(
        since=_since(get("since"), now),
        tail=_tail(get("tail")),
        instance=get("instance") or None,
        call_id=get("call_id") or None,
    )
    return LogQuery(name, given, wanted, follow=get("follow") in _TRUE, more=get("more") in _TRUE)


def _since(text: str, now: int) -> int:
    if not text:
        return now - RECENT
    if (match := _MOMENT.fullmatch(text)) is None:
        raise ValueError(f"since: {text[:40]!r} is no time")
    moment = datetime.fromisoformat(match[1] + match[3].replace("Z", "+00:00"))
    seconds = int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())
    return seconds * NANO + int((match[2] or "0")[:9].ljust(9, "0"))


def _tail(text: str) -> int:
    """0 for all, which is what every number below 1 means."""
    if not text:
        return 0
    if not re.fullmatch(r"[-+]?\d{1,18}", text, re.ASCII):
        raise ValueError(f"tail: {text[:40]!r} is no number")
    return min(max(0, int(text)), _MOST)
