"""Signatures are those of standard-webhooks, and secrets are read as people keep them."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.callback.secrets import load_secrets
from faasd_py.callback.signature import Signer, read_secret
from faasd_py.core.errors import ConfigError
from tests.callback.receiver import sign

KNOWN = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def test_the_specification_s_example():
    """The published example of standard-webhooks comes out the same."""
    body = b'{"test": 2432232314}'
    value = sign([read_secret(KNOWN)], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body)
    assert value == b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_two_secrets_make_two_signatures():
    """While rotating, each secret signs; the first is the first."""
    old, new = b"o" * 24, b"n" * 24
    both = sign([new, old], "id", 7, b"body")
    assert both == sign([new], "id", 7, b"body") + b" " + sign([old], "id", 7, b"body")


@given(st.lists(st.binary(max_size=50)), st.binary(min_size=16, max_size=70))
def test_pieces_do_not_matter(pieces, secret):
    """A body signed piece by piece has the signature of the whole, and anybody with the secret can make it."""
    signer = Signer([secret], "0190-1", 12)
    for piece in pieces:
        signer.update(piece)
    whole = b"".join(pieces)
    assert signer.value() == sign([secret], "0190-1", 12, whole)
    expected = hmac.new(secret, b"0190-1.12." + whole, sha256).digest()
    assert b64decode(signer.value().removeprefix(b"v1,")) == expected


def test_secrets_in_both_forms(tmp_path):
    """`whsec_` + base64 and raw bytes both are read, and the newline of an editor does not count."""
    raw = bytes(range(33, 65))
    (tmp_path / "a").write_bytes(b"whsec_" + b64encode(raw) + b"\n")
    (tmp_path / "b").write_bytes(raw + b"\r\n")
    assert load_secrets([str(tmp_path / "a"), str(tmp_path / "b")]) == (raw, raw)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "got 0"), (b"\n", "got 0"), (b"hunter2", "got 7"), (b"whsec_*!", "base64"), (b"whsec_", "got 0")],
)
def test_no_secret(tmp_path, content, reason):
    """A file without a usable secret is an error that names the file and not its content."""
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=reason) as caught:
        load_secrets([str(path)])
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value).replace(str(path), "")


def test_no_file(tmp_path):
    """A missing file is named."""
    with pytest.raises(ConfigError, match="nowhere cannot be read: No such file"):
        load_secrets([str(tmp_path / "nowhere")])
