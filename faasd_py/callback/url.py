"""Pure. A callback URL taken apart, strictly: what two parsers could read differently is refused.

URL syntax is RFC 3986; the odd spellings of IPv4 addresses are those that inet_aton(3) takes (`127.1`, `0x7f.1`,
`2130706433`, `0177.0.0.1`), because resolvers take them, too.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote, urlsplit

import msgspec

from faasd_py.core.errors import BadOption

MAX_LENGTH: Final = 4096
"""Characters."""
PORTS: Final = {"http": 80, "https": 443}
Address = IPv4Address | IPv6Address

_FORBIDDEN: Final = re.compile(r"[\x00-\x20\x7f-\x9f\\]")
_HOST: Final = re.compile(
    r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?)*"
)
_NUMBER: Final = re.compile(r"0x[0-9a-f]*|[0-9]+", re.IGNORECASE)
_PATH: Final = "/%:@!$&'()*+,;=~-._"
_AUTHORITY: Final = re.compile(r"(?:\[[^\[\]]*\]|[^\[\]:]*)(?::[0-9]*)?")


class ParsedUrl(msgspec.Struct, frozen=True, kw_only=True):
    """Where a callback goes. `host` is lower case, without brackets and without a final dot."""

    url: str
    scheme: str
    host: str
    port: int
    target: bytes
    """Path and query, as they are sent."""
    literal: Address | None = None
    """The address, when the host is one in any spelling."""

    @property
    def netloc(self) -> str:
        """Host and port, IPv6 in brackets: what lanes and pools are named by."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def default_port(self) -> bool:
        """The port is the scheme's own, named or not."""
        return self.port == PORTS[self.scheme]

    @property
    def field(self) -> bytes:
        """The Host field (RFC 9110 §7.2): without the scheme's own port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.default_port else f"{host}:{self.port}").encode("ascii")


def parse_url(url: str) -> ParsedUrl:
    """The parts of an absolute http or https URL; a fragment is dropped.

    Raises:
        BadOption: one sentence naming the reason.
    """
    if len(url) > MAX_LENGTH:
        raise BadOption(f"callback URL: is longer than {MAX_LENGTH} characters")
    if match := _FORBIDDEN.search(url):
        raise BadOption(
            f"callback URL: has a space, control character or backslash at position {match.start()}"
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise BadOption(f"callback URL: cannot be read: {error}") from None
    if not parts.scheme:
        raise BadOption("callback URL: is relative, expected http:// or https://")
    if parts.scheme not in PORTS:
        raise BadOption(f"callback URL: expected http or https, got {parts.scheme[:40]!r}")
    host, port = _authority(parts.netloc, parts.scheme)
    return ParsedUrl(
        url=url,
        scheme=parts.scheme,
        host=host,
        port=PORTS[parts.scheme] if port is None else port,
        target=_target(parts.path, parts.query),
        literal=as_address(host),
    )


def as_address(host: str) -> Address | None:
    """The address that a host name spells, in whatever way resolvers take it; None when it is a name.

    Raises:
        BadOption: its last label is a number, so it is meant as an IPv4 address, but it is none (WHATWG URL §3.5).
    """
    if ":" in host:
        return IPv6Address(host)
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return None
    address = _inet_aton(host.split("."))
    if address is None:
        raise BadOption(f"callback URL: {host[:80]!r} is not an IPv4 address")
    return address


def _inet_aton(labels: list[str]) -> IPv4Address | None:
    """As inet_aton(3): one to four decimal, octal or hexadecimal numbers, the last one fills what is left."""
    if len(labels) > 4 or not all(_NUMBER.fullmatch(label) for label in labels):
        return None
    try:
        *front, last = [_number(label) for label in labels]
    except ValueError:
        return None
    if any(number > 255 for number in front) or last >= 256 ** (4 - len(front)):
        return None
    return IPv4Address(last + sum(number << 8 * (3 - place) for place, number in enumerate(front)))


def _number(label: str) -> int:
    if label[:2].lower() == "0x":
        return int(label[2:] or "0", 16)
    return int(label, 8 if len(label) > 1 and label[0] == "0" else 10)


def _authority(netloc: str, scheme: str) -> tuple[str, int | None]:
    if not netloc:
        raise BadOption(f"callback URL: has no host after {scheme}://")
    if "@" in netloc:
        raise BadOption("callback URL: a user name or password in it cannot be used")
    if not _AUTHORITY.fullmatch(netloc):
        raise BadOption(f"callback URL: host or port cannot be read: {netloc[:80]!r}")
    if netloc.startswith("["):
        text, _, rest = netloc[1:].partition("]")
        return _ipv6(text), _port(rest[1:])
    text, _, port = netloc.partition(":")
    return _name(text), _port(port)


def _port(text: str) -> int | None:
    if not text:
        return None
    if len(text) > 5 or not 1 <= int(text) <= 65535:
        raise BadOption(f"callback URL: expected a port from 1 to 65535, got {text[:20]}")
    return int(text)


def _ipv6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except ValueError:
        raise BadOption(f"callback URL: {text[:80]!r} is not an IPv6 address") from None
    if address.scope_id:
        raise BadOption("callback URL: an IPv6 zone cannot be used")
    return str(address)


def _name(text: str) -> str:
    if not text:
        raise BadOption("callback URL: has no host")
    try:
        host = text.encode("idna").decode("ascii").lower().removesuffix(".")
    except UnicodeError:
        raise BadOption(f"callback URL: {text[:80]!r} is not a host name") from None
    if len(host) > 253 or not _HOST.fullmatch(host):
        raise BadOption(f"callback URL: {host[:80]!r} is not a host name")
    literal = as_address(host)
    return host if literal is None else str(literal)


def _target(path: str, query: str) -> bytes:
    """Path and query with what may not stand in a request line percent-encoded (as UTF-8)."""
    text = quote(path or "/", safe=_PATH)
    return (text + "?" + quote(query, safe=_PATH + "?[]") if query else text).encode("ascii")
