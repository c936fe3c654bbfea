"""Requests that a browser sends for a page of another site."""

import pytest

from faasd_py.auth.cross_site import is_cross_site

HOST = b"box:8080"


@pytest.mark.parametrize(
    ("site", "origin", "refused"),
    [
        (None, None, False),
        (b"same-origin", None, False),
        (b"none", None, False),
        (b"cross-site", None, True),
        (b"same-site", None, True),
        (b"", None, True),
        (None, b"http://box:8080", False),
        (None, b"HTTP://BOX:8080", False),
        (None, b"http://box:8081", True),
        (None, b"http://box", True),
        (None, b"http://evil.example", True),
        (None, b"http://evil.example?box:8080", True),
        (None, b"null", True),
        (None, b"box:8080", True),
        (b"same-origin", b"http://behind.a.proxy", False),
        (b"cross-site", b"http://box:8080", True),
    ],
)
def test_who_asks(site, origin, refused):
    """The browser's own word counts, then the origin; who says nothing is no browser."""
    for method in (b"POST", b"PUT", b"DELETE", b"PATCH", b"CONFIG"):
        assert is_cross_site(method, site, origin, HOST) is refused
    for method in (b"GET", b"HEAD", b"OPTIONS"):
        assert not is_cross_site(method, site, origin, HOST)


@pytest.mark.parametrize(
    ("origin", "host", "refused"),
    [
        (b"http://box", b"box:80", False),
        (b"http://box:80", b"box", False),
        (b"https://box", b"box:443", False),
        (b"https://box", b"box:80", True),
        (b"https://box:443", b"box", False),
        (b"http://[::1]:8080", b"[::1]:8080", False),
        (b"http://box", b"", True),
    ],
)
def test_a_port_that_goes_without_saying(origin, host, refused):
    """RFC 6454 §6.2: an origin leaves its scheme's default port out."""
    assert is_cross_site(b"POST", None, origin, host) is refused
