"""Pure. Addresses as the configuration writes them: where to listen, whom callbacks may reach, where a function lives."""

from __future__ import annotations

import re
from typing import Final
from urllib.parse import urlsplit

WORDS: Final = ("public", "private", "loopback", "link-local")
"""What callback.allow calls whole kinds of addresses."""
UNIX_LIMIT: Final = 107
"""Bytes that the path of a unix socket may have (unix(7), sun_path)."""
_TCP: Final = re.compile(r"(?:\[(?P<v6>[^\[\]/\s]+)\]|(?P<host>[^\[\]:/\s]+)):(?P<port>\d{1,5})", re.ASCII)
_HOST: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[-a-z0-9_.]*[a-z0-9_])?\.?", re.ASCII | re.IGNORECASE)
_DIGITS: Final = re.compile(r"[0-9./*]+|.*:.*|.*/.*", re.ASCII)


def check_listen(address: str) -> None:
    """The address is `HOST:PORT`, `[IPV6]:PORT` or `unix:/path`.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    if address.startswith("unix:"):
        _check_unix(address.removeprefix("unix:"), address)
        return
    match = _TCP.fullmatch(address)
    if match is None:
        raise ValueError(f'expected "HOST:PORT", "[IPV6]:PORT" or "unix:/path", got "{address}"')
    if int(match["port"]) > 65535:
        raise ValueError(f'expected a port from 1 to 65535 (0: any free one), got "{address}"')
    if match["v6"] and not _is_ipv6(match["v6"]):
        raise ValueError(f'expected an IPv6 address in the brackets, got "{address}"')


def check_allowed(word: str) -> None:
    """The word names whom callbacks may reach: a kind of address, a network, an address, or a host.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    if word in WORDS:
        return
    if _DIGITS.fullmatch(word):
        _check_network(word)
    elif not _HOST.fullmatch(word) or len(word) > 253:
        raise ValueError(
            f'expected "public", "private", "loopback", "link-local", a network like "10.0.0.0/8" '
            f'or a host like "hooks.lan" or "*.lan", got "{word}"'
        )


def check_host(name: str) -> None:
    """The name is a host as it stands in URLs, without a port; an IPv6 address with or without its brackets.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    if not name or re.search(r"[\s/@]", name) or (":" in name and not _is_ipv6(name.strip("[]"))):
        raise ValueError(f'expected a host name without a port, got "{name}"')


def check_url(url: str) -> None:
    """The URL is one that a function can be reached at: http or https with a host, or http+unix with a path only.

    Raises:
        ValueError: one sentence saying what was expected.
    """
    if re.search(r"[\s\x00-\x1f\x7f]", url) or not url.isascii():
        raise ValueError(f"expected a URL without spaces, control and non-ASCII characters, got {url!a}")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f'expected a URL like "http://10.0.0.5:9000", got "{url}" ({error})') from None
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError(
            f"a URL with a user name, a query or a fragment cannot be used: {parts.hostname or ''}"
        )
    if parts.scheme == "http+unix":
        if parts.netloc or not parts.path.strip("/"):
            raise ValueError(f'expected a URL like "http+unix:///run/app.sock", got "{url}"')
    elif parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError(f'expected a URL like "http://10.0.0.5:9000", got "{url}"')


def _check_unix(path: str, address: str) -> None:
    if not path.startswith("/") or "\0" in path or path.endswith("/"):
        raise ValueError(f'expected an absolute path after "unix:", got {address!a}')
    if len(path.encode()) > UNIX_LIMIT:
        raise ValueError(
            f"the path of a unix socket has at most {UNIX_LIMIT} bytes, got {len(path.encode())}"
        )


def _check_network(text: str) -> None:
    import ipaddress  # noqa: PLC0415  # seldom needed, and not for nothing

    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f'expected a network like "10.0.0.0/8", got "{text}" ({error})') from None


def _is_ipv6(text: str) -> bool:
    import ipaddress  # noqa: PLC0415  # seldom needed, and not for nothing

    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True
