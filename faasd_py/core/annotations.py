"""Pure. What a function's annotations say: of asynchronous calls (OpenFaaS wire contract §2.5), and where `auth` is not set.

    com.openfaas.retry.attempts   a whole number from 1 on, the first attempt included
    com.openfaas.retry.codes      statuses, with commas between
    com.openfaas.retry.min_wait   a duration
    com.openfaas.retry.max_wait   a duration
    com.openfaas.queue            the named queue that it belongs to

    faasd-py.auth                 `true`: callers must say who they are

A value of the first five that cannot be read counts as not given, as in OpenFaaS.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from faasd_py.core.durations import parse_duration
from faasd_py.core.retry import RetryPolicy

PREFIX: Final = "com.openfaas.retry."
ASKS: Final = "faasd-py.auth"
QUEUE: Final = "com.openfaas.queue"
DEFAULT_QUEUE: Final = "faas-request"
"""The name of OpenFaaS' default queue: dashboards select it."""
_NAME: Final = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z0-9_.]{0,61}[a-zA-Z0-9])?", re.ASCII)


def queue_of(annotations: Mapping[str, str]) -> str:
    """The named queue of a function."""
    name = annotations.get(QUEUE, DEFAULT_QUEUE)
    return name if _NAME.fullmatch(name) else DEFAULT_QUEUE


def check_queue(name: str) -> None:
    """Raises ValueError, one sentence, when it cannot name a queue."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"expected 1 to 63 letters, digits, '-', '_' or '.', got {name[:80]!r}")


def annotated(policy: RetryPolicy, annotations: Mapping[str, str]) -> RetryPolicy:
    """The policy with what the annotations say."""
    changes = {}
    for field, read in _READ.items():
        text = annotations.get(PREFIX + field)
        if text is not None:
            try:
                changes[field] = read(text.strip())
            except ValueError:
                continue
    return msgspec.structs.replace(policy, **changes) if changes else policy


def asks(setting: bool | None, annotations: Mapping[str, str]) -> bool | None:
    """Whether a function's callers must say who they are: as set, else as annotated; None when neither says.

    Any word but `false` closes the function: a slip must not open it.
    """
    if setting is not None or ASKS not in annotations:
        return setting
    return annotations[ASKS].strip().lower() != "false"


def _attempts(text: str) -> int:
    return _whole(text, 1, 1_000_000)


def _codes(text: str) -> frozenset[int]:
    return frozenset(_whole(code.strip(), 100, 599) for code in text.split(","))


def _whole(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 8 and least <= int(text) <= most):
        raise ValueError(f"expected a whole number from {least} to {most}")
    return int(text)


_READ: Final[dict[str, Callable[[str], object]]] = {
    "attempts": _attempts,
    "codes": _codes,
    "min_wait": parse_duration,
    "max_wait": parse_duration,
}
