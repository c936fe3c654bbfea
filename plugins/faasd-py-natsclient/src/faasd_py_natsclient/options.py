"""How to connect, as given to `connect`. Pure."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field

from faasd_py_natsclient.subjects import literal


@dataclass(slots=True, frozen=True, kw_only=True)
class Options:
    """What `connect` takes. Secrets stay out of the repr.

    Raises:
        BadSubject, ValueError: an option makes no sense.
    """

    name: str = ""
    """What the server's operator sees."""
    user: str | None = None
    """With `password`, for addresses that have no credentials of their own; or `token`."""
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    tls: ssl.SSLContext | None = None
    """With it only TLS will do. Without, the system's roots count when the server or `tls://` asks for TLS."""
    tls_first: bool = False
    """The server expects TLS before it greets (`handshake_first`)."""
    reconnect_wait: float = 2.0
    """Seconds between two attempts at the same server, ± half of it by chance."""
    max_reconnect: int | None = None
    """Failed attempts in a row after which a server is given up; None: never."""
    ping_interval: float = 20.0
    """Seconds between two pings."""
    pings_out: int = 2
    """So many pings without an answer, and the connection counts as lost."""
    connect_timeout: float = 5.0
    """Seconds for one attempt, from the first packet to the server's assent."""
    close_timeout: float = 2.0
    """Seconds that the end of the block waits for the server to have read what was published."""
    max_pending: int = 8 * 1024 * 1024
    """Bytes that may wait to be sent."""
    discover: bool = True
    """Use the addresses that a cluster tells as well."""
    inbox_prefix: str = "_INBOX"
    """What the subjects of answers begin with, for credentials that may not subscribe to all of them."""

    def __post_init__(self) -> None:
        """What would never work is refused before it is tried."""
        literal(self.inbox_prefix)
        for name in ("reconnect_wait", "ping_interval", "connect_timeout", "pings_out", "max_pending"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: more than 0, not {getattr(self, name)!r}")
