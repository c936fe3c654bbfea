"""Ports of 127.0.0.1 for functions that are to listen on one.

A port that the kernel chose (`bind` to 0) may be given to anybody else before the function has bound it: to another
function, or to an outgoing connection. So ports come from below the kernel's own range, and each is lent once, whichever
daemon lends it: while it is out, its daemon holds an abstract unix socket of that name, which is as wide as ports are (the
network namespace) and ends with its holder (unix(7)).
"""

from __future__ import annotations

import errno
import os
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
        self._claims: dict[int, int] = {}
        """The descriptor of the claim on each port that is out."""
        highest = _kernels_lowest()
        self._choice = range(_LOWEST, highest) if highest - _LOWEST > 1000 else range(_LOWEST, 65_536)

    def take(self) -> int:
        """A port that nobody listens on and that was not lent, by no daemon.

        Raises:
            OSError: none is left, or no descriptor.
        """
        start = random.randrange(len(self._choice))  # noqa: S311 - to be spread, not secret
        for step in range(len(self._choice)):
            port = self._choice[(start + step) % len(self._choice)]
            if port not in self._claims and self._claim(port):
                if _is_free(port):
                    return port
                self.give_back(port)
        raise OSError(98, "no port is free")

    def give_back(self, port: int) -> None:
        """It may be lent again."""
        if (claim := self._claims.pop(port, None)) is not None:
            os.close(claim)

    def _claim(self, port: int) -> bool:
        with socket.socket(socket.AF_UNIX) as sock:
            try:
                sock.bind(f"\0faasd-py/port/{port}")
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return False
                raise
            self._claims[port] = sock.detach()
        return True


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
