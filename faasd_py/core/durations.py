"""Pure. Durations and sizes as people write them, and back.

A duration is `"250ms"`, `"10s"`, `"1m30s"`, `"6h"`, `"7d"`: decimal numbers with a unit, largest first by custom,
concatenated; OpenFaaS takes plain integers as seconds (wire contract §1.0), so do we.
"""

from __future__ import annotations

import re
from typing import Final

_UNITS: Final = {
    "ns": 1e-9,
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "m": 60.0,
    "h": 3600.0,
    "d": 86400.0,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h|d)", re.ASCII)
_SIZE: Final = re.compile(r"(\d+)\s*(B|[kKMGT]i?B?)?", re.ASCII)
_SCALE: Final = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}


class Duration(float):
    """A length of time in seconds; prints as people write it."""

    __slots__ = ()

    def __str__(self) -> str:
        return format_duration(self)


class Size(int):
    """A number of bytes; prints as people write it."""

    __slots__ = ()

    def __str__(self) -> str:
        return format_size(self)


def parse_duration(text: str | int) -> Duration:
    """Seconds, from `"1m30s"` or a whole number of seconds.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        if text >= 0:
            return Duration(text)
    elif isinstance(text, str):
        if text.isascii() and text.isdigit() and len(text) < 16:
            return Duration(text)
        parts = _PART.findall(text)
        if parts and "".join(number + unit for number, unit in parts) == text:
            return Duration(sum(float(number) * _UNITS[unit] for number, unit in parts))
    raise ValueError(f'expected a duration like "250ms", "10s" or "1m30s", got {text!r}')


def parse_size(text: str | int) -> Size:
    """Bytes, from `"64MiB"`, `"1GB"` or a whole number of bytes.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        if text >= 0:
            return Size(text)
    elif isinstance(text, str) and (match := _SIZE.fullmatch(text)) and len(match[1]) < 19:
        unit = match[2] or "B"
        base = 1024 if "i" in unit else 1000
        return Size(int(match[1]) * base ** _SCALE[unit.rstrip("B").rstrip("i").upper()])
    raise ValueError(f'expected a size like "256KiB" or "64MiB", got {text!r}')


def format_duration(seconds: float) -> str:
    """The shortest way to write it, exact to the microsecond (below a second: nanosecond): 90.0 is `1m30s`."""
    if seconds and seconds < 1:
        return f"{_decimal(seconds * 1000)}ms"
    whole, parts = seconds, ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        count = int(whole // size)
        if count:
            parts += f"{count}{unit}"
            whole -= count * size
    rest = _decimal(whole)
    return parts + f"{rest}s" if rest != "0" or not parts else parts


def format_size(size: int) -> str:
    """The shortest exact way to write it: 65536 is `64KiB`."""
    for unit, scale in (("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size and size % scale == 0:
            return f"{size // scale}{unit}"
    return f"{int(size)}B"


def _decimal(number: float) -> str:
    """Six places at most, no exponent, no trailing zeros."""
    return f"{number:.6f}".rstrip("0").rstrip(".")
