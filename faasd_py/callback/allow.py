"""Pure. Which addresses callbacks may reach: the words, networks and hosts of `[callback] allow`.

Kinds of addresses, by the IANA special-purpose registries (RFC 6890):

    loopback     127.0.0.0/8, ::1
    link-local   169.254.0.0/16 (metadata services of clouds live there), fe80::/10
    private      10.0.0.0/8, 172.16.0.0/12, 192.168.0.0/16, fc00::/7
    public       what is globally reachable
    reserved     all else: 0.0.0.0/8 and ::, carriers' 100.64.0.0/10, multicast, broadcast, documentation, benchmarks, …

Reserved addresses are reached only when a network of the list names them. An IPv6 address that carries an IPv4 address
inside (mapped, 6to4, NAT64) is judged by that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network
from typing import Final

import msgspec

from faasd_py.callback.url import Address

WORDS: Final = frozenset({"public", "private", "loopback", "link-local"})
Network = IPv4Network | IPv6Network

_PRIVATE: Final = tuple(
    ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7")
)
_NAT64: Final = IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = IPv6Network("64:ff9b:1::/48")


class Allow(msgspec.Struct, frozen=True, kw_only=True):
    """The list, taken apart."""

    words: frozenset[str]
    networks: tuple[Network, ...]
    hosts: tuple[str, ...]

    def host(self, host: str) -> bool:
        """The host is on the list by its name: then its addresses are not asked for their kind."""
        return any(fnmatchcase(host, pattern) for pattern in self.hosts)

    def address(self, address: Address) -> bool:
        """The address may be connected to."""
        address = embedded(address)
        return kind(address) in self.words or any(
            address.version == network.version and address in network for network in self.networks
        )


def compile_allow(words: Iterable[str]) -> Allow:
    """The list taken apart: the words, `"10.0.0.0/8"` or an address, and host patterns like `"*.lan"`."""
    return _compile(tuple(words))


@lru_cache(maxsize=16)
def _compile(words: tuple[str, ...]) -> Allow:
    networks, hosts = [], []
    for word in words:
        if word not in WORDS:
            try:
                networks.append(ip_network(word, strict=False))
            except ValueError:
                hosts.append(word.lower().removesuffix("."))
    return Allow(words=WORDS.intersection(words), networks=tuple(networks), hosts=tuple(hosts))


def embedded(address: Address) -> Address:
    """The IPv4 address inside an IPv6 one (mapped, 6to4, NAT64), else the address itself."""
    if isinstance(address, IPv4Address):
        return address
    inner = address.ipv4_mapped or address.sixtofour
    if inner is None and address in _NAT64:
        inner = IPv4Address(int(address) & 0xFFFFFFFF)
    return inner or address


def kind(address: Address) -> str:
    """`loopback`, `link-local`, `private`, `public` or `reserved`."""
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if any(address.version == network.version and address in network for network in _PRIVATE):
        return "private"
    odd = address.is_multicast or address.is_reserved or address.is_unspecified or not address.is_global
    return "reserved" if odd or _is_translated(address) else "public"


def _is_translated(address: Address) -> bool:
    """IPv6 forms that reach an IPv4 network by a tunnel which we do not judge (Teredo, IPv4-compatible, local NAT64)."""
    if isinstance(address, IPv4Address):
        return False
    return (
        address.teredo is not None
        or int(address) >> 32 == 0
        or address in _NAT64_LOCAL
        or address.is_site_local
    )


def describe(address: IPv4Address | IPv6Address) -> str:
    """The address with its kind, for a person."""
    return f"{address} is a {kind(embedded(address))} address"
