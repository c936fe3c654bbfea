"""Pure. What a wrong guess costs: each address that failed lately waits longer for its next refusal.

Only refusals wait. Whoever has the right password is let in at once, also from an address that somebody else guesses from.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address
from math import ceil
from typing import Final

FREE: Final = 3
"""Failures that cost nothing: people mistype."""
FIRST: Final = 0.125
LONGEST: Final = 2.0
"""Seconds that the first failure that costs something waits (each further one waits twice as long), and the last."""
FORGIVEN: Final = 30.0
"""Seconds after which one failure is forgotten."""
MOST: Final = 4096
"""Addresses that are remembered; the one that failed least lately goes first."""
COUNTED: Final = 64
"""Failures of one address that are counted, so that the worst is forgiven within half an hour."""


class Slowdown:
    """The addresses that failed lately."""

    def __init__(self) -> None:
        self._failed: OrderedDict[bytes, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._failed)

    def fail(self, peer: bytes, now: float) -> tuple[int, float]:
        """One more failure of a peer (`HOST:PORT`): how many of it count now, and the seconds that its refusal waits."""
        address = address_of(peer)
        count, at = self._failed.pop(address, (0.0, now))
        count = min(COUNTED, max(0.0, count - (now - at) / FORGIVEN) + 1)
        self._failed[address] = (count, now)
        if len(self._failed) > MOST:
            self._failed.popitem(last=False)
        counted = ceil(count)  # a failure counts until it is forgiven altogether
        return counted, _wait(counted)


def _wait(failures: int) -> float:
    over = failures - FREE
    return 0.0 if over <= 0 else min(LONGEST, FIRST * 2.0 ** min(over - 1, 10))


def address_of(peer: bytes) -> bytes:
    """Who it is, without the port; of IPv6 the network of 64 bits, for that is what one household has."""
    host, colon, _ = peer.rpartition(b":")
    if not colon:
        return peer
    if not host.startswith(b"["):
        return host
    try:
        address = IPv6Address(host.strip(b"[]").decode("ascii"))
    except ValueError:
        return host
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped).encode()
    return str(IPv6Address(address.packed[:8] + bytes(8))).encode() + b"/64"
