"""Pure. The ids of calls: UUIDs of version 7 (RFC 9562 §5.7) that are also the queue's integer keys.

A key is 63 bits: milliseconds since 1970 (48 bits) and a counter (15 bits). Keys grow in the order calls were accepted,
also when the clock steps back. As text a key is a UUIDv7 whose remaining bits are the store's own node number, so that
the text finds its row without an index of its own, and ids of another store are told apart.
"""

from __future__ import annotations

from typing import Final

NODE_BITS: Final = 59
_COUNTER_BITS: Final = 15
_NODE_MASK: Final = (1 << NODE_BITS) - 1


def next_key(last: int, now_ms: int) -> int:
    """The smallest key that is of `now_ms` or later and above `last`."""
    return max(last + 1, now_ms << _COUNTER_BITS)


def key_time(key: int) -> float:
    """When the key was made, in seconds since 1970."""
    return (key >> _COUNTER_BITS) / 1000


def to_text(key: int, node: int) -> str:
    """The key as a UUIDv7 of this node (a 59-bit number)."""
    high = key >> _COUNTER_BITS
    counter = key & 0x7FFF
    low = 1 << 63 | (counter & 7) << NODE_BITS | node & _NODE_MASK
    text = f"{high << 16 | 0x7000 | counter >> 3:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def from_text(text: str, node: int) -> int | None:
    """The key in a UUID that `to_text` made for this node, else None."""
    plain = text.replace("-", "")
    if len(text) != 36 or len(plain) != 32:
        return None
    try:
        high, low = int(plain[:16], 16), int(plain[16:], 16)
    except ValueError:
        return None
    key = high >> 16 << _COUNTER_BITS | (high & 0xFFF) << 3 | low >> NODE_BITS & 7
    return key if to_text(key, node) == text.lower() else None
