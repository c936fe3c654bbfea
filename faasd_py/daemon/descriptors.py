"""Descriptors: as many as the system gives, and never all of them for callers.

A call needs up to two besides its connection's own; the store, the control plane and new processes need some always.
"""

from __future__ import annotations

import resource
from typing import Final

RESERVE: Final = 64
_MOST: Final = 1 << 20
"""More is of no use, and some systems have no limit at all."""


def raise_limit() -> None:
    """Take all that this process may have (RLIMIT_NOFILE); functions get the usual limit from the spawn helper."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if limit() < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def limit() -> int:
    """How many this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST if soft == resource.RLIM_INFINITY else soft


def affordable(connections: int, descriptors: int) -> int:
    """Pure. How many of the wanted connections so many descriptors allow; at least one."""
    return max(1, min(connections, (descriptors - RESERVE) // 2))
