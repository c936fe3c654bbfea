"""Which addresses the words of `[callback] allow` mean."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.callback.allow import compile_allow, embedded, kind

KINDS = {
    "public": "8.8.8.8 1.1.1.1 172.32.0.1 192.167.255.255 2606:4700::1111 2a00::1",
    "private": "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 fd00::1 fc00::1 ::ffff:10.0.0.1 2002:0a00:0001::1",
    "loopback": "127.0.0.1 127.255.255.254 ::1 ::ffff:127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::",
    "link-local": "169.254.169.254 169.254.0.1 fe80::1 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe",
    "reserved": "0.0.0.0 0.1.2.3 :: ::ffff:0.0.0.0 100.64.0.1 100.100.100.200 224.0.0.1 239.1.1.1 240.0.0.1 "
    "255.255.255.255 192.0.2.1 198.18.0.1 198.51.100.1 203.0.113.1 192.0.0.1 ff02::1 2001:db8::1 fec0::1 "
    "::127.0.0.1 ::7f00:1 2001::1 100::1 64:ff9b:1::1",
}
CASES = [(address, word) for word, text in KINDS.items() for address in text.split()]


@pytest.mark.parametrize(("address", "word"), CASES)
def test_kinds(address, word):
    """Each address is of one kind, and IPv6 forms are judged by the IPv4 address inside."""
    assert kind(embedded(ip_address(address))) == word


@pytest.mark.parametrize(("address", "word"), CASES)
def test_only_its_own_word_allows_an_address(address, word):
    """A word allows its kind and no other; reserved addresses are allowed by no word."""
    for other in ("public", "private", "loopback", "link-local"):
        assert compile_allow([other]).address(ip_address(address)) is (other == word)
    assert not compile_allow([]).address(ip_address(address))


def test_networks_allow_what_is_in_them():
    """A network, or a single address, allows what no word would; IPv4 networks hold for mapped addresses, too."""
    allow = compile_allow(["100.64.0.0/10", "203.0.113.7", "fd00:1::/32"])
    assert allow.address(ip_address("100.64.1.1"))
    assert allow.address(ip_address("::ffff:100.64.1.1"))
    assert allow.address(ip_address("203.0.113.7"))
    assert not allow.address(ip_address("203.0.113.8"))
    assert allow.address(ip_address("fd00:1::9"))
    assert not allow.address(ip_address("fd00:2::9"))
    assert not allow.address(ip_address("10.0.0.1"))


def test_hosts_are_patterns():
    """Hosts are matched whole, without regard to case; a star stands for any labels."""
    allow = compile_allow(["*.LAN", "nas", "hooks.example.com."])
    assert all(map(allow.host, ("a.lan", "a.b.lan", "nas", "hooks.example.com")))
    assert not any(map(allow.host, ("lan", "a.lan.evil.com", "nas.evil.com", "xnas", "ahooks.example.com")))


@given(st.integers(0, 2**32 - 1).map(IPv4Address) | st.integers(0, 2**128 - 1).map(IPv6Address))
def test_every_address_has_a_kind(address):
    """No address is without a kind, and what is not global is never public."""
    word = kind(embedded(address))
    assert word in KINDS
    if word == "public":
        assert embedded(address).is_global
        assert not embedded(address).is_multicast


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_a_mapped_address_is_the_address(address):
    """::ffff:a.b.c.d is allowed exactly when a.b.c.d is."""
    mapped = IPv6Address(f"::ffff:{address}")
    for words in (["public"], ["private", "loopback"], ["198.18.0.0/15"]):
        assert compile_allow(words).address(mapped) is compile_allow(words).address(address)
