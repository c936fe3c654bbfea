"""Host names that lead here, by who can have them."""

import pytest

from faasd_py.auth.host_names import is_public


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.0.0.1:8080", "192.168.1.10:8080", "[::1]", "[::1]:8080", "[::ffff:10.0.0.1]:80", "8.8.8.8", "",
        "localhost", "localhost:8080", "localhost.", "LOCALHOST", "gateway:8080", "faas", "faas.localhost:1", "pi.local",
        "box.internal", "box.lan:8080", "nas.home.arpa", "gateway.openfaas:8080", "Known.Example:8080", "known.example.",
    ],
)  # fmt: skip
def test_names_that_nobody_else_can_have(host):
    """Addresses, local names, and those that are listed."""
    assert not is_public(host.encode(), {"gateway.openfaas", "known.example"})


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8080", "evil.example.", "localhost.evil.example", "10.0.0.5.nip.io:8080",
        "127.0.0.1.evil.example", "notlocal.com", "xlocal.lan.example", "a.known.example", "1.2.3", "[::1].evil.example",
        "evil.example:x", "\xff.example",
    ],
)  # fmt: skip
def test_names_that_somebody_may_have_registered(host):
    """They may lead here although they are nothing of ours."""
    assert is_public(host.encode("latin-1"), {"gateway.openfaas", "known.example"})
