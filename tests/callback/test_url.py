"""Callback URLs are taken apart strictly, and every spelling of an address is known for what it is."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.callback.url import MAX_LENGTH, as_address, parse_url
from faasd_py.core.errors import BadOption


@pytest.mark.parametrize(
    ("url", "host", "port", "target"),
    [
        ("http://example.com", "example.com", 80, b"/"),
        ("https://example.com/a/b?c=d", "example.com", 443, b"/a/b?c=d"),
        ("HTTP://EXAMPLE.com:8080/", "example.com", 8080, b"/"),
        ("http://example.com./x", "example.com", 80, b"/x"),
        ("http://example.com:/x", "example.com", 80, b"/x"),
        ("http://example.com?q=1", "example.com", 80, b"/?q=1"),
        ("http://example.com/x#part", "example.com", 80, b"/x"),
        ("http://h/a%20b%2Fc?x=%26", "h", 80, b"/a%20b%2Fc?x=%26"),
        ('http://h/a"b<c>?q="', "h", 80, b"/a%22b%3Cc%3E?q=%22"),
        ("http://é.fr/é?ü", "xn--9ca.fr", 80, b"/%C3%A9?%C3%BC"),
        ("http://under_score.lan/", "under_score.lan", 80, b"/"),
        ("http://[::1]:9/", "::1", 9, b"/"),
        ("http://[2001:DB8:0:0::1]/", "2001:db8::1", 80, b"/"),
    ],
)
def test_parts(url, host, port, target):
    """Host, port and target are read as RFC 3986 says, lower-cased, encoded and without the fragment."""
    parsed = parse_url(url)
    assert (parsed.host, parsed.port, parsed.target) == (host, port, target)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "relative"),
        ("/hook", "relative"),
        ("//host/hook", "relative"),
        ("host/hook", "relative"),
        ("host:80/hook", "http or https"),
        ("ftp://host/", "http or https"),
        ("file:///etc/passwd", "http or https"),
        ("javascript:alert(1)", "http or https"),
        ("http:host", "no host"),
        ("http://", "no host"),
        ("http:///path", "no host"),
        ("http://:80/", "no host"),
        ("http://user@host/", "user name"),
        ("http://user:secret@host/", "user name"),
        ("http://good.com@evil.com/", "user name"),
        ("http://host:0/", "port"),
        ("http://host:65536/", "port"),
        ("http://host:999999999999/", "port"),
        ("http://host:eighty/", "port"),
        ("http://host:80:80/", "cannot be read"),
        ("http://[::1/", "cannot be read"),
        ("http://[::1]x/", "cannot be read"),
        ("http://::1/", "cannot be read"),
        ("http://[fe80::1%25eth0]/", "zone"),
        ("http://[nonsense]/", "IPv6"),
        ("http://a b/", "space"),
        ("http://host/a\r\nX: y", "control"),
        ("http://host/a\tb", "control"),
        ("http://host\x00/", "control"),
        ("http://host\\@evil/", "backslash"),
        ("http://a..b/", "host name"),
        ("http://-a/", "host name"),
        ("http://a-/", "host name"),
        ("http://ho%73t/", "host name"),
        ("http://" + "a" * 64 + ".com/", "host name"),
        ("http://" + "a." * 130 + "com/", "host name"),
        ("http://1.2.3.4.5/", "IPv4"),
        ("http://256.1.1.1/", "IPv4"),
        ("http://1.2.3.09/", "IPv4"),
        ("http://4294967296/", "IPv4"),
        ("http://example.123/", "IPv4"),
        ("http://h/" + "x" * MAX_LENGTH, "longer"),
    ],
)
def test_refused(url, reason):
    """What is relative, ambiguous or not for us is refused with its reason in one sentence."""
    with pytest.raises(BadOption, match=reason) as caught:
        parse_url(url)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "spelling",
    [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0x7F.0.0x0.1",
    ],
)
def test_every_spelling_of_an_address_is_that_address(spelling):
    """Decimal, octal, hexadecimal and short forms of 127.0.0.1 are 127.0.0.1, as resolvers would have it."""
    parsed = parse_url(f"http://{spelling}:81/")
    assert parsed.literal == ip_address("127.0.0.1")
    assert (parsed.host, parsed.field) == ("127.0.0.1", b"127.0.0.1:81")


def test_wide_digits_are_digits():
    """Full-width digits and dots, which IDNA folds, do not hide an address."""
    assert parse_url("http://127。0。0。1/").host == "127.0.0.1"


@given(st.integers(min_value=0, max_value=2**32 - 1))
def test_numbers_are_addresses(number):
    """A host that is one number, in any base, is the address of that value."""
    assert (
        as_address(str(number)) == as_address(hex(number)) == as_address(f"0{number:o}") == ip_address(number)
    )


@given(st.text(max_size=80))
def test_any_text_is_taken_or_refused(text):
    """Whatever the text, there is a ParsedUrl whose parts can be sent, or BadOption; never another error."""
    for url in (text, "http://" + text, "http://h:1/" + text, "http://h/?" + text):
        try:
            parsed = parse_url(url)
        except BadOption:
            continue
        assert parsed.target.startswith(b"/")
        assert not set(parsed.target + parsed.field) & set(b" \r\n\t\0")
        assert 1 <= parsed.port <= 65535


def test_the_host_field_has_the_port_only_when_it_matters():
    """The scheme's own port is left out of Host (RFC 9110 §7.2)."""
    assert parse_url("https://h:443/").field == b"h"
    assert parse_url("http://h:443/").field == b"h:443"
    assert parse_url("http://[::1]/").field == b"[::1]"


def test_lanes():
    """One lane for each host and port, whatever the path and the spelling."""
    for url in ("http://Example.com/a", "http://example.com.:80/b?c"):
        assert parse_url(url).netloc == "example.com:80"
    assert parse_url("https://example.com/").netloc == "example.com:443"
    assert parse_url("http://[::1]:8/").netloc == "[::1]:8"
