"""Pure. Function names: `NAME` or `NAME.NAMESPACE` (wire contract §1.0)."""

from __future__ import annotations

import re
from typing import Final

NAME: Final = re.compile(r"[-a-zA-Z_0-9.]+", re.ASCII)
_PLAIN: Final = re.compile(r"[a-zA-Z0-9](?:[-a-zA-Z_0-9]*[a-zA-Z0-9])?", re.ASCII)
DEFAULT_NAMESPACE: Final = "openfaas-fn"
MAX_LENGTH: Final = 63


def split(name: str, default: str = DEFAULT_NAMESPACE) -> tuple[str, str]:
    """`(name, namespace)`: split at the last dot; without a dot the default namespace."""
    head, dot, tail = name.rpartition(".")
    return (head, tail) if dot else (tail, default)


def full(name: str, default: str = DEFAULT_NAMESPACE) -> str:
    """`NAME.NAMESPACE`, as metrics and logs name a function."""
    return ".".join(split(name, default))


def check(name: str) -> str:
    """The name, if a function may be called so: letters, digits, `-` and `_`, at most 63 characters.

    Raises:
        ValueError: one sentence saying what is wrong.
    """
    if len(name) <= MAX_LENGTH and _PLAIN.fullmatch(name):
        return name
    raise ValueError(
        f"a function name is 1 to {MAX_LENGTH} letters, digits, '-' or '_', "
        f"beginning and ending with a letter or digit; got {name[:80]!r}"
    )
