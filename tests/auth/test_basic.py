"""The user and the password."""

import hmac

import pytest

from faasd_py.auth.basic import Credentials


@pytest.mark.parametrize(
    ("user", "password", "same"),
    [
        (b"admin", b"secret", True),
        (b"admin", b"Secret", False),
        (b"Admin", b"secret", False),
        (b"", b"", False),
        (b"admin", b"", False),
        (b"admin", b"secret ", False),
        (b"adminsecret", b"", False),
        (b"a" * 5000, b"b" * 5000, False),
    ],
)
def test_both_must_be_the_same(user, password, same):
    """Byte for byte."""
    assert Credentials(b"admin", b"secret").match(user, password) is same


@pytest.mark.parametrize(
    "said", [(b"nobody", b"secret"), (b"admin", b"wrong"), (b"admin", b"secret"), (b"", b"")]
)
def test_how_long_it_takes_tells_nothing(monkeypatch, said):
    """Two digests of one length are compared by hmac.compare_digest, whichever of them is wrong."""
    compared = []

    def spy(one, other):
        compared.append((len(one), len(other)))
        return compare(one, other)

    compare = hmac.compare_digest
    known = Credentials(b"admin", b"secret")
    monkeypatch.setattr("faasd_py.auth.basic.hmac.compare_digest", spy)
    known.match(*said)
    assert compared == [(32, 32), (32, 32)]


def test_nothing_keeps_the_words():
    """Neither the user nor the password is in it."""
    known = Credentials(b"admin", b"secret")
    kept = [getattr(known, name) for name in Credentials.__slots__]
    assert b"admin" not in kept
    assert b"secret" not in kept
    assert "secret" not in repr(known)
