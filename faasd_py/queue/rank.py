"""Pure. The order of a lane as one integer: the smallest rank is given out first.

A rank is the priority turned round (6 bits, 0 for the highest) above when the call is due (57 bits on the scale of the
keys in core/identity.py: milliseconds and a counter). A call without delay is due when it was accepted, so its key is
also its due time.
"""

from __future__ import annotations

from typing import Final

HIGHEST: Final = 10
_DUE_BITS: Final = 57
_DUE_MASK: Final = (1 << _DUE_BITS) - 1
_COUNTER_BITS: Final = 15
END: Final = (1 << 63) - 1
"""Above every rank."""


def of_key(priority: int, key: int) -> int:
    """The rank of a call that is due as soon as it is accepted."""
    turned = HIGHEST - priority
    return (turned if 0 <= turned <= 2 * HIGHEST else _clamp(turned)) << _DUE_BITS | key & _DUE_MASK


def of_time(priority: int, due: float, key: int) -> int:
    """The rank of a call that is due at a time (seconds since 1970); calls of one millisecond keep their order."""
    return of_key(priority, milliseconds(due) << _COUNTER_BITS | key & ((1 << _COUNTER_BITS) - 1))


def next_priority(rank: int) -> int:
    """The smallest rank of any lower priority."""
    return ((rank >> _DUE_BITS) + 1) << _DUE_BITS


def milliseconds(time: float) -> int:
    """Whole milliseconds since 1970, rounded up, within what a rank can hold."""
    return max(0, min(-int(-time * 1000 // 1), _DUE_MASK >> _COUNTER_BITS))


def _clamp(turned: int) -> int:
    return max(0, min(turned, 2 * HIGHEST))
