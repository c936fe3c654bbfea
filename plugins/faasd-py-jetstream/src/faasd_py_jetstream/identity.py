"""Pure. The ids of calls: UUIDs of version 7 (RFC 9562 §5.7), growing on each daemon, sorting by time across all.

A key is 63 bits: milliseconds since 1970 and a 15-bit counter. As text it is a UUID whose last 59 bits are the
daemon's own number.
"""

from __future__ import annotations

from typing import Final

NODE_BITS: Final = 59
_COUNTER_BITS: Final = 15


class Ids:
    """`node` is this daemon's number."""

    __slots__ = ("_tails", "last")

    def __init__(self, node: int, last: int = 0) -> None:
        self.last = last
        self._tails = tuple(_tail(counter, node) for counter in range(8))

    def new(self, now: float) -> int:
        """The next key; `now` is in seconds since 1970."""
        self.last = key = max(self.last + 1, int(now * 1000) << _COUNTER_BITS)
        return key

    def text(self, key: int) -> str:
        """The id of a key."""
        return f"{key >> 31:08x}-{key >> 15 & 0xFFFF:04x}-7{key >> 3 & 0xFFF:03x}{self._tails[key & 7]}"


def _tail(counter: int, node: int) -> str:
    low = f"{1 << 63 | counter << NODE_BITS | node & (1 << NODE_BITS) - 1:016x}"
    return f"-{low[:4]}-{low[4:]}"


def key_of(identity: str) -> int:
    """The key in an id, whoever gave it."""
    plain = identity.replace("-", "")
    high, low = int(plain[:16], 16), int(plain[16:], 16)
    return high >> 16 << _COUNTER_BITS | (high & 0xFFF) << 3 | low >> NODE_BITS & 7


def time_of(key: int) -> float:
    """When a key was made, in seconds since 1970."""
    return (key >> _COUNTER_BITS) / 1000


def key_at(time: float) -> int:
    """The first key of a time."""
    return max(0, int(time * 1000)) << _COUNTER_BITS
