"""Ports of 127.0.0.1 for functions that are to listen on one.

A port that the kernel chose (`bind` to 0) may be given to anybody else before the function has bound it: to another
function, or to an outgoing connection. So ports come from below the kernel's own range, and each is lent once.
"""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"
_LOWEST: Final = 20_000
_USUAL: Final = 32_768
_RANGE: Final = Path("/proc/sys/net/ipv4/ip_local_port_range")


class Ports:
    """Lends ports; remembers which are out."""

    def __init__(self) -> None:
        self._lent: set[int] = set()
        highest = _kernels_lowest()
        self._choice = range(_LOWEST, highest) if highest - _LOWEST > 1000 else range(_LOWEST, 65_536)

    def take(self) -> int:
        """A port that nobody listens on and that was not lent.

        Raises:
            OSError: none is left.
        """
        start = random.randrange(len(self._choice))  # noqa: S311 - to be spread, not secret
        for step in range(len(self._choice)):
            port = self._choice[(start + step) % len(self._choice)]
            if port not in self._lent and _is_free(port):
                self._lent.add(port)
                return port
        raise OSError(98, "no port is free")

    def give_back(self, port: int) -> None:
        """It may be lent again."""
        self._lent.discard(port)


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        try:
            sock.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _kernels_lowest() -> int:
    try:
        return int(_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _USUAL
