"""How to connect, as given to `connect`. Pure."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from faasd_py_natsclient.subjects import literal


@dataclass(slots=True, frozen=True, kw_only=True)
class Options:
    """Seconds and bytes. Secrets stay out of the repr."""

    name: str = ""
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    tls_first: bool = False
    reconnect_wait: float = 2.0
    max_reconnect: int | None = None
    ping_interval: float = 20.0
    pings_out: int = 2
    connect_timeout: float = 5.0
    close_timeout: float = 2.0
    max_pending: int = 8 * 1024 * 1024
    discover: bool = True
    inbox_prefix: str = "_INBOX"

    def __post_init__(self) -> None:
        """What would never work is refused before it is tried."""
        literal(self.inbox_prefix)
        for name in ("reconnect_wait", "ping_interval", "connect_timeout", "pings_out", "max_pending"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: more than 0, not {getattr(self, name)!r}")
