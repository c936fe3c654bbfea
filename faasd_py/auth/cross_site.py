"""Pure. Whether a browser sends a request for a page of another site, which may not change anything here.

A browser that was once told a password sends it along with whatever any page asks of us. It says itself who asks: by
`Sec-Fetch-Site` (Fetch Metadata, W3C §2), else by `Origin` (RFC 6454 §7). Programs send neither, and are let through.
"""

from __future__ import annotations

from typing import Final

SAFE: Final = frozenset({b"GET", b"HEAD", b"OPTIONS"})
"""Methods that change nothing here (RFC 9110 §9.2.1); a page of another site cannot read what they answer."""
_OURS: Final = frozenset({b"same-origin", b"none"})
"""A page of our own, or the person at the keyboard."""
_DEFAULT_PORTS: Final = {b"http": b":80", b"https": b":443"}


def is_cross_site(method: bytes, site: bytes | None, origin: bytes | None, host: bytes) -> bool:
    """Whether to refuse, by the fields `Sec-Fetch-Site`, `Origin` and `Host`: with the port that its client wrote, if any."""
    if method in SAFE:
        return False
    if site is not None:
        return site not in _OURS
    if origin is None:
        return False
    scheme, mark, place = origin.partition(b"://")
    default = _DEFAULT_PORTS.get(scheme.lower(), b"")
    return not mark or place.lower().removesuffix(default) != host.lower().removesuffix(default)
