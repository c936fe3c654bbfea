"""What one server grants its clients."""

from __future__ import annotations

import msgspec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds and bytes; all but `max_connections` are per connection."""

    max_connections: int = 4096
    """Over it the server stops accepting: the surplus waits in the listening socket's backlog."""
    max_head: int = 64 * 1024
    max_headers: int = 100
    head_timeout: float = 10.0
    """From a head's first byte to its last (with TLS: the handshake too)."""
    idle_timeout: float = 75.0
    """Between two requests, and from the connection's start to its first byte."""
    read_timeout: float = 60.0
    """Without a byte of a body that is waited for."""
    write_timeout: float = 60.0
    """Without a byte of an answer that can be sent."""
