"""The gateway's certificate: used, or refused in one sentence; nobody is asked for a password."""

import ssl

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from faasd_py.config import TlsSettings
from faasd_py.core.errors import ConfigError
from faasd_py.daemon.certificate import open_certificate


@pytest.fixture
def files(tmp_path):
    """A certificate with its chain, its key, the same key encrypted, and another's key."""
    authority = trustme.CA()
    ours, other = authority.issue_cert("localhost"), authority.issue_cert("other")
    with (tmp_path / "chain.pem").open("wb") as chain:
        for blob in ours.cert_chain_pems:
            chain.write(blob.bytes())
    ours.private_key_pem.write_to_path(tmp_path / "key.pem")
    other.private_key_pem.write_to_path(tmp_path / "other.pem")
    key = serialization.load_pem_private_key(ours.private_key_pem.bytes(), None)
    secret = serialization.BestAvailableEncryption(b"a word")
    form = serialization.PrivateFormat.PKCS8
    (tmp_path / "locked.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, secret))
    return tmp_path


def opened(files, key: str) -> ssl.SSLContext:
    return open_certificate(TlsSettings(certificate=str(files / "chain.pem"), key=str(files / key)))


def test_a_pair_is_used(files):
    """Certificate and key that belong together."""
    assert isinstance(opened(files, "key.pem"), ssl.SSLContext)


@pytest.mark.parametrize("key", ["locked.pem", "other.pem", "missing.pem", "chain.pem"])
def test_what_cannot_be_used_is_one_sentence(files, key):
    """It names both files; an encrypted key does not wait for somebody at a terminal."""
    with pytest.raises(
        ConfigError, match=rf"^gateway\.tls: \S+/chain\.pem and \S+/{key} cannot be used: .+$"
    ):
        opened(files, key)
