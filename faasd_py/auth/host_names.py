"""Pure. Whether the owner of a page on the internet may have given a host name our address (DNS rebinding).

Such a page is of our own origin, as browsers see it. They have no credentials for it, so it can do nothing where somebody is
asked; where nobody is, it is known by its name alone, which its owner had to register.
"""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import ip_address
from typing import Final

_UNREGISTERED: Final = frozenset({"localhost", "local", "internal", "lan", "home.arpa"})
"""Nobody can register a name below these: RFC 6761, RFC 6762, ICANN's resolution 2024.07.29.06, custom, RFC 8375."""


def is_public(host: bytes, names: Collection[str]) -> bool:
    """Whether somebody may have registered the host of a request (`HOST`, `HOST:PORT`).

    `names` are the gateway's own, in lower case; addresses and names without a dot are nobody's but the local network's.
    """
    name = _without_port(host.decode("latin-1").lower()).rstrip(".")
    if name in names or "." not in name:
        return False
    return not _is_address(name) and not any(name.endswith(f".{suffix}") for suffix in _UNREGISTERED)


def _without_port(host: str) -> str:
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() and not name.endswith(":") else host


def _is_address(name: str) -> bool:
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
