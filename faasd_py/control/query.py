"""Pure. What a query string may ask of the admin API."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

import msgspec

from faasd_py.core import names
from faasd_py.core.lifecycle import State
from faasd_py.queue.contract import Filter

MAX_LIMIT: Final = 1000
STATES: Final = tuple(state.name.lower() for state in State)


class Selection(msgspec.Struct, frozen=True):
    """Which calls, and how many at most."""

    which: Filter
    limit: int


def read(query: Mapping[str, str], known: Collection[str], namespace: str, limit: int) -> Selection:
    """The filter and the limit of a query; parameters that are not among `known` are refused.

    Raises:
        ValueError: one sentence that names the parameter.
    """
    for key in query:
        if key not in known:
            raise ValueError(f"{key}: there is no such parameter here (there is {', '.join(known)})")
    which = Filter(
        lane=_lane(query.get("function"), namespace),
        state=_state(query.get("state")),
        before=query.get("before") or None,
    )
    return Selection(which, _limit(query.get("limit"), limit))


def _lane(function: str | None, namespace: str) -> str | None:
    if not function:
        return None
    if function.startswith("callback:"):
        return function
    if not names.NAME.fullmatch(function):
        raise ValueError(
            f"function: expected NAME, NAME.NAMESPACE or callback:HOST:PORT, got {function[:80]!r}"
        )
    return names.full(function, namespace)


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
