"""Pure. What a query string may ask of the admin API."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from faasd_py.core import durations, names
from faasd_py.core.lifecycle import State
from faasd_py.queue.contract import Filter

MAX_LIMIT: Final = 1000
STATES: Final = tuple(state.name.lower() for state in State)


class Selection(msgspec.Struct, frozen=True):
    """Which calls, and how many at most; `namespace` is asked for only where no function is named."""

    which: Filter
    limit: int
    namespace: str | None = None


def read(query: Mapping[str, str], known: Collection[str], namespace: str, limit: int) -> Selection:
    """The filter and the limit of a query; parameters that are not among `known` are refused.

    Raises:
        ValueError: one sentence that names the parameter.
    """
    for key in query:
        if key not in known:
            raise ValueError(f"{key}: there is no such parameter here (there is {', '.join(known)})")
    asked = _namespace(query.get("namespace"))
    of = lane(query.get("function"), asked or namespace)
    if of is not None and asked is not None and not of.endswith(f".{asked}"):
        raise ValueError(f"namespace: {of} is not in namespace {asked}")
    which = Filter(
        lane=of,
        state=_state(query.get("state")),
        before=query.get("before") or None,
    )
    return Selection(which, _limit(query.get("limit"), limit), asked if of is None else None)


def lane(function: str | None, namespace: str) -> str | None:
    """The lane that a parameter `function` means: of a function, or `callback:HOST:PORT`; None when it is empty.

    Raises:
        ValueError: one sentence that names the parameter.
    """
    if not function:
        return None
    if function.startswith("callback:"):
        return function
    if not names.NAME.fullmatch(function):
        raise ValueError(
            f"function: expected NAME, NAME.NAMESPACE or callback:HOST:PORT, got {function[:80]!r}"
        )
    return names.full(function, namespace)


def patience(text: str | None, most: float = 600.0) -> float:
    """The seconds that a parameter `wait` means; 0 when it is not there.

    Raises:
        ValueError: one sentence that names the parameter.
    """
    if not text:
        return 0.0
    try:
        seconds = durations.parse_duration(text)
    except ValueError as error:
        raise ValueError(f"wait: {error}") from None
    if seconds > most:
        raise ValueError(f"wait: expected at most {durations.format_duration(most)}, got {text[:80]!r}")
    return seconds


def _namespace(namespace: str | None) -> str | None:
    if not namespace:
        return None
    try:
        return names.check(namespace)
    except ValueError:
        raise ValueError(f"namespace: expected a name, got {namespace[:80]!r}") from None


def _state(state: str | None) -> State | None:
    if not state:
        return None
    if state not in STATES:
        raise ValueError(f"state: expected one of {', '.join(STATES)}, got {state[:80]!r}")
    return State[state.upper()]


def _limit(text: str | None, default: int) -> int:
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MAX_LIMIT):
        raise ValueError(f"limit: expected an integer from 1 to {MAX_LIMIT}, got {text[:80]!r}")
    return int(text)
