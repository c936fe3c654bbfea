"""Pure. The answers that are the gateway's own: one line of text each, marked as the platform's (OpenFaaS wire contract §1.0)."""

from __future__ import annotations

from typing import Final

PLAIN: Final = b"Content-Type: text/plain; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n"
INTERNAL: Final = b"X-OpenFaaS-Internal: proxy\r\n"
MIDDLEWARE: Final = b"X-OpenFaaS-Internal: faas-middleware\r\n"

Answer = tuple[int, bytes, bytes]
"""Status, header lines, body."""


def text(status: int, message: str, *, internal: bytes = b"", retry_after: float | None = None) -> Answer:
    """One line of text. `retry_after` is in seconds, rounded up to at least 1 (RFC 9110 §10.2.3)."""
    headers = PLAIN + internal
    if retry_after is not None:
        headers += b"Retry-After: %d\r\n" % max(1, -int(-retry_after // 1))
    return status, headers, message.encode() + b"\n"


NOT_FOUND: Final[Answer] = text(404, "404 page not found")
METHOD: Final[Answer] = (405, b"", b"")


UNKNOWN_OPERATOR: Final[Answer] = (
    401,
    b'WWW-Authenticate: Basic realm="Restricted"\r\nContent-Type: text/plain; charset=utf-8\r\n',
    b"invalid credentials",
)
"""Wire contract §1.1: no line end."""
CROSS_SITE: Final[Answer] = text(403, "a page of another site may not change anything here")
UNKNOWN_HOST: Final[Answer] = text(
    403,
    "auth.enabled is false, so the host that is asked has to be an address, a local name or one of gateway.names",
)
_CHALLENGE: Final = (
    b'WWW-Authenticate: Bearer realm="faasd-py function invoke"\r\n'
    b'WWW-Authenticate: Basic realm="faasd-py function invoke"\r\n'
)
UNKNOWN_CALLER: Final[Answer] = (401, _CHALLENGE + PLAIN + MIDDLEWARE, b"invalid credentials\n")
MAY_NOT_INVOKE: Final[Answer] = text(
    403, "insufficient scope: these credentials lack the scope invoke", internal=MIDDLEWARE
)
"""As OpenFaaS' function authentication: 401 and 403 of the middleware (wire contract §5.1)."""


def unknown(name: bytes) -> Answer:
    """No function of that name."""
    shown = name[:80].decode("ascii", "replace") or "(empty)"
    return text(404, f"function {shown} not found", internal=INTERNAL)


def moved(location: bytes) -> Answer:
    """To the canonical path."""
    return 301, b"Location: " + location + b"\r\n" + PLAIN, b"Moved Permanently\n"


def too_many(limit: int) -> Answer:
    """The function's max_inflight is reached; the words are the watchdogs' (wire contract §5.1)."""
    message = f"Concurrent request limit exceeded. Max concurrent requests: {limit}\n"
    return 429, b"Content-Type: text/plain\r\n" + MIDDLEWARE, message.encode()


def over_rate(wait: float) -> Answer:
    """The function's rate is used up."""
    return text(429, "rate limit exceeded", internal=MIDDLEWARE, retry_after=wait)
