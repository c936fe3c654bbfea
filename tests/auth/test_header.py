"""An Authorization field's value: what counts, and what does not."""

import base64

import pytest

from faasd_py.auth.header import LONGEST, Basic, Bearer, read


def basic(words: bytes) -> bytes:
    return b"Basic " + base64.b64encode(words)


@pytest.mark.parametrize(
    ("words", "user", "password"),
    [
        (b"admin:secret", b"admin", b"secret"),
        (b"admin:with:colons:", b"admin", b"with:colons:"),
        (b":", b"", b""),
        ("jörg:geheim ".encode(), "jörg".encode(), b"geheim "),
    ],
)
def test_basic(words, user, password):
    """The user ends at the first colon (RFC 7617 §2)."""
    assert read(basic(words)) == Basic(user, password)


@pytest.mark.parametrize("scheme", [b"basic", b"BASIC", b"Basic"])
def test_schemes_have_no_case(scheme):
    """RFC 9110 §11.1."""
    assert read(scheme + b"  " + base64.b64encode(b"a:b") + b"\t") == Basic(b"a", b"b")
    assert read(b"bEARER abc") == Bearer(b"abc")


@pytest.mark.parametrize(
    "value",
    [
        b"", b" ", b"Basic", b"Basic ", b"Basic !!!!", b"Basic YWJj", b"Basic YTpi\xff", b"Basic YTpi YTpi", b"Basic YTp",
        b"Bearer", b"Bearer ", b"Bearer a b", b"Bearer a,b", b"Bearer \xc3\xa4", b"Digest YTpi", b"YTpi", b"Basic,YTpi",
    ],
)  # fmt: skip
def test_what_is_neither(value):
    """Malformed is nobody; nothing raises."""
    assert read(value) is None


def test_what_is_too_long_is_not_looked_at():
    """However it would decode."""
    assert read(basic(b"a:" + b"b" * LONGEST)) is None
    assert read(b"Bearer " + b"b" * (LONGEST - 7)) == Bearer(b"b" * (LONGEST - 7))


def test_no_repr_tells_a_secret():
    """A log line or a traceback may have one."""
    assert "secret" not in repr(read(basic(b"admin:secret"))) + repr(read(b"Bearer secret"))
