"""Pure. The ids of calls: UUIDs of version 7 (RFC 9562 §5.7), growing on each daemon, sorting by time across all.

A key is 63 bits: milliseconds since 1970 and a 15-bit counter. As text it is a UUID whose last 59 bits are `node`: for
our own calls the number of this life of the daemon, for calls of others a digest of where they stand in their channel.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

NODE_BITS: Final = 59
NODE_MASK: Final = (1 << NODE_BITS) - 1
ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_COUNTER_BITS: Final = 15


class Ids:
    """`node` is this life's number."""

    __slots__ = ("_tails", "last", "node")

    def __init__(self, node: int, last: int = 0) -> None:
        self.node = node & NODE_MASK
        self.last = last
        self._tails = tuple(text_of(counter, node)[18:] for counter in range(8))

    def new(self, now: float) -> int:
        """The next key; `now` is in seconds since 1970."""
        self.last = key = max(self.last + 1, int(now * 1000) << _COUNTER_BITS)
        return key

    def text(self, key: int) -> str:
        """The id of a key."""
        return f"{key >> 31:08x}-{key >> 15 & 0xFFFF:04x}-7{key >> 3 & 0xFFF:03x}{self._tails[key & 7]}"


def text_of(key: int, node: int) -> str:
    """The id of a key at a node."""
    low = f"{1 << 63 | (key & 7) << NODE_BITS | node & NODE_MASK:016x}"
    return f"{key >> 31:08x}-{key >> 15 & 0xFFFF:04x}-7{key >> 3 & 0xFFF:03x}-{low[:4]}-{low[4:]}"


def foreign(channel: str, sequence: int, timestamp: int) -> str:
    """The id of a message that carries none: the same each time it is delivered. `timestamp` is in ns."""
    place = blake2b(f"{channel}\n{sequence}\n{timestamp}".encode(), digest_size=8).digest()
    key = timestamp // 1_000_000 << _COUNTER_BITS | sequence & 0x7FFF
    return text_of(key, int.from_bytes(place, "big"))
