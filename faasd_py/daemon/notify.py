"""Tell systemd how we are: sd_notify(3) datagrams, and the watchdog's pings. Outside systemd all of it does nothing.

The environment says where (`NOTIFY_SOCKET`) and how often (`WATCHDOG_USEC`, `WATCHDOG_PID`: sd_watchdog_enabled(3)).
A message that cannot be sent is logged and forgotten: no trouble of the service manager's may end the daemon.
"""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping
from typing import Final, Self

import trio

_log: Final = logging.getLogger("faasd_py.daemon")
_PATIENCE: Final = 2.0
"""Seconds that one message may wait for a service manager that does not read."""


class Notifier:
    """The line to the service manager; `address` None: nobody listens.

    `watchdog` is the interval in seconds within which a ping must come, None when nobody waits for one.
    """

    def __init__(self, address: str | None, watchdog: float | None = None) -> None:
        self._address = _socket_address(address)
        self.watchdog = watchdog if self._address else None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], pid: int | None = None) -> Self:
        """As systemd's environment says; `pid` is ours, as WATCHDOG_PID must name it when it is set."""
        return cls(environ.get("NOTIFY_SOCKET"), _watchdog(environ, os.getpid() if pid is None else pid))

    def ready(self, status: str = "") -> bool:
        """The start, or a reload, is complete."""
        return self._send("READY=1", _status(status))

    def reloading(self, status: str = "") -> bool:
        """A reload began; `ready` ends it. The time is what `Type=notify-reload` asks for, others ignore it."""
        moment = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        return self._send("RELOADING=1", f"MONOTONIC_USEC={moment}", _status(status))

    def stopping(self, status: str = "", *, within: float | None = None) -> bool:
        """The stop began; `within` seconds it is over, however short TimeoutStopSec is."""
        longer = "" if within is None else f"EXTEND_TIMEOUT_USEC={int(within * 1e6)}"
        return self._send("STOPPING=1", longer, _status(status))

    def ping(self) -> bool:
        """The watchdog's interval begins anew."""
        return self._send("WATCHDOG=1")

    async def watch(self) -> None:
        """Ping at a third of the watchdog's interval; returns at once without a watchdog.

        A hung event loop never comes here: then systemd starts the daemon again.
        """
        if self.watchdog is None:
            return
        while True:
            self.ping()
            await trio.sleep(self.watchdog / 3)

    def _send(self, *lines: str) -> bool:
        """Whether the message went out."""
        if self._address is None:
            return False
        message = "\n".join(line for line in lines if line).encode()
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as line:
                line.settimeout(_PATIENCE)
                line.sendto(message, self._address)
        except OSError as error:
            _log.warning("systemd cannot be told %s: %s", lines[0], error)
            return False
        return True


def _socket_address(address: str | None) -> str | bytes | None:
    """`@name` is an abstract name (a NUL and the name); anything but that and an absolute path is not for us (vsock)."""
    if not address or address[0] not in "@/":
        return None
    return b"\0" + os.fsencode(address[1:]) if address[0] == "@" else address


def _watchdog(environ: Mapping[str, str], pid: int) -> float | None:
    """Seconds, or None: not asked for, or asked of another process, or not a number."""
    interval = environ.get("WATCHDOG_USEC", "")
    asked = environ.get("WATCHDOG_PID", str(pid))
    if not interval.isdecimal() or int(interval) == 0 or asked != str(pid):
        return None
    return int(interval) / 1e6


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split()) if text else ""
