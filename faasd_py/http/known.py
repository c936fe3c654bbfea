"""Pure. What there is to know of an answer's header lines: looked up, for functions mostly answer with the same ones."""

from __future__ import annotations

import re
from typing import Final

from faasd_py.http import fields

MOST: Final = 64
LONGEST: Final = 4096
"""Blocks that are remembered at once, and the bytes of the longest."""
_LENGTH: Final = re.compile(rb"\ncontent-length:[ \t]*(\d+)")


class Known:
    """One block. `dated`: it has a Date; `length` is its Content-Length, None without."""

    __slots__ = ("_absent", "_block", "dated", "length")

    def __init__(self, headers: bytes) -> None:
        self._block = block = b"\n" + headers.lower()
        self.dated = b"\ndate:" in block
        stated = _LENGTH.search(block)
        self.length = None if stated is None else int(stated[1])
        self._absent: tuple[bytes, ...] = ()

    def missing(self, extra: bytes, names: tuple[bytes, ...]) -> bytes:
        """The lines of `extra` whose names the block has not; `names` are all of them in lower case, or none."""
        if names and names is self._absent:
            return extra
        if names and not any(b"\n%b:" % name in self._block for name in names):
            self._absent = names
            return extra
        return fields.missing_from(self._block, extra)


class Knowledge:
    """The blocks seen lately."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Known] = {}

    def of(self, headers: bytes) -> Known:
        """What is known of this block."""
        found = self._known.get(headers)
        if found is None:
            found = Known(headers)
            if len(headers) <= LONGEST:
                if len(self._known) >= MOST:
                    self._known.clear()
                self._known[headers] = found
        return found
