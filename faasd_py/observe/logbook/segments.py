"""The files of one function's log: each is named after the number of its first line and the time when it was begun."""

from __future__ import annotations

import os
import re
from hashlib import sha256
from pathlib import Path
from typing import Final

import msgspec

_NAME: Final = re.compile(r"(\d{16})-(\d{20})\.ndjson", re.ASCII)
_SAFE: Final = re.compile(r"[^-_.a-zA-Z0-9]", re.ASCII)
_LONGEST: Final = 200


class Segment(msgspec.Struct, frozen=True):
    """`first` is the number of its first line; `at` (nanoseconds since 1970) is not before any line of an older one."""

    first: int
    at: int

    @property
    def name(self) -> str:
        """The file's."""
        return f"{self.first:016d}-{self.at:020d}.ndjson"


def segments(directory: Path) -> list[Segment]:
    """Those there are, oldest first; none when there is no such directory."""
    try:
        names = os.listdir(directory)  # noqa: PTH208  # names, as fast as can be
    except (FileNotFoundError, NotADirectoryError):
        return []
    found = [_NAME.fullmatch(name) for name in sorted(names)]
    return [Segment(int(match[1]), int(match[2])) for match in found if match]


def directory_name(label: str) -> str:
    """A file name for a label, another one for every label: what could be misunderstood is escaped."""
    name = _SAFE.sub(_escape, label)
    if name.startswith("."):
        name = "%2E" + name[1:]
    if len(name) > _LONGEST:
        return f"{name[:_LONGEST]}%{sha256(name.encode()).hexdigest()[:12]}"
    return name


def _escape(match: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "backslashreplace"))
