"""Pure. Header blocks: field lines as bytes, each ending in CRLF; names are compared without regard to case.

A block is looked at only after llhttp accepted it, or was written by us: every CRLF ends a line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Final

HOP_BY_HOP: Final = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
"""RFC 9110 §7.6.1, with those that RFC 2616 §13.5.1 named and clients still send."""


def lines(block: bytes) -> Iterator[tuple[bytes, bytes]]:
    """`(lower-case name, line with its CRLF)` of each field."""
    for line in block.split(b"\r\n"):
        if line:
            yield line[: line.find(b":")].strip().lower(), line + b"\r\n"


def get_all(block: bytes, name: bytes) -> list[bytes]:
    """The values of every field of that name, in order."""
    name = name.lower()
    return [line[line.find(b":") + 1 :].strip() for found, line in lines(block) if found == name]


def get(block: bytes, name: bytes) -> bytes | None:
    """The value of the first field of that name, else None."""
    values = get_all(block, name) if has(block, name) else None
    return values[0] if values else None


def has(block: bytes, name: bytes) -> bool:
    """Whether there is a field of that name."""
    return b"\n" + name.lower() + b":" in b"\n" + block.lower()


def without(block: bytes, *names: bytes) -> bytes:
    """The block without the fields of these names."""
    unwanted = {name.lower() for name in names}
    return b"".join(line for name, line in lines(block) if name not in unwanted)


def missing_from(known: bytes, extra: bytes) -> bytes:
    """The lines of `extra` whose names are not in `known`: a lower-case block with a line end before its first line."""
    for name in _names(extra):
        if b"\n" + name.lower() + b":" in known:
            return b"".join(line for name, line in lines(extra) if b"\n" + name + b":" not in known)
    return extra


_names: Final = re.compile(rb"([^:\r\n]+):[^\r]*\r\n").findall


class Cutter:
    """Takes the fields of some names out of a head in one pass."""

    __slots__ = ("_sub",)

    def __init__(self, names: Iterable[bytes]) -> None:
        choice = b"|".join(map(re.escape, sorted(names)))
        self._sub = re.compile(rb"\r\n(?:%b):[^\r]*" % choice, re.IGNORECASE).sub

    def cut(self, head: bytes, start: int) -> bytes:
        """The field lines of a whole head (they begin at `start`), without these names."""
        kept = self._sub(b"", head[start - 2 : -4])
        return kept[2:] + b"\r\n" if kept else b""


def tokens(value: bytes) -> list[bytes]:
    """The lower-case members of a comma-separated list (RFC 9110 §5.6.1)."""
    return [token for token in (part.strip().lower() for part in value.split(b",")) if token]
