"""What can go wrong on a wire, sorted by whose end it was.

WireError
├─ ConnectionLost   our own client went away, or sent a body that cannot be read
├─ ConnectFailed    no connection to the peer: nothing was sent
├─ PeerClosed       the peer broke off; `began` says whether its answer had begun
│  └─ PeerTimeout   the peer made no progress within read_timeout or write_timeout
└─ BadAnswer        what the peer sent is not HTTP

Refused is the server's own: a request that is answered here and never reaches a handler.
"""

from __future__ import annotations


class WireError(Exception):
    """The root; its text is one sentence."""


class ConnectionLost(WireError):
    """Our own client went away, or its body broke off."""


class ConnectFailed(WireError):
    """No connection could be made; nothing was sent."""


class PeerClosed(WireError):
    """The peer broke off. `began`: the reply had begun, so the caller must break off too."""

    def __init__(self, message: str, *, began: bool = False) -> None:
        super().__init__(message)
        self.began = began


class PeerTimeout(PeerClosed):
    """The peer made no progress in time."""


class BadAnswer(WireError):
    """The peer's answer breaks HTTP's rules. `began`: the reply had begun."""

    def __init__(self, message: str, *, began: bool = False) -> None:
        super().__init__(message)
        self.began = began


class Refused(Exception):
    """A request that is answered `status` with one line of text; then the connection is closed."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


class BadChunk(Exception):
    """A chunked body breaks the rules of RFC 9112 §7.1."""
