"""Addresses, and which is tried next."""

import pytest

from faasd_py_natsclient import BadServer
from faasd_py_natsclient.pool import Pool, parse_server


def still(_servers):
    """A shuffle that changes nothing."""


@pytest.mark.parametrize(
    ("text", "address", "tls"),
    [
        ("nats://127.0.0.1:5000", ("127.0.0.1", 5000), False),
        ("nats://example.org", ("example.org", 4222), False),
        ("tls://example.org:1/", ("example.org", 1), True),
        ("127.0.0.1:5000", ("127.0.0.1", 5000), False),
        ("localhost", ("localhost", 4222), False),
        ("nats://[::1]:4222", ("::1", 4222), False),
    ],
)
def test_addresses(text, address, tls):
    """A scheme and a port may be left out."""
    server = parse_server(text)
    assert server.address == address
    assert server.tls is tls


@pytest.mark.parametrize(
    "text",
    [
        "",
        "http://a:1",
        "nats://",
        "nats://a:99999",
        "nats://a:0",
        "nats://a:b",
        "nats://a b:1",
        "nats://a/x",
        "nats://a?x",
        "nats://[::1",
        "nats://a\r\n:1x",
    ],
)
def test_no_addresses(text):
    """One sentence, no traceback of the URL's reader."""
    with pytest.raises(BadServer, match="server"):
        parse_server(text)


def test_secrets_are_read_and_not_shown():
    """User and password, or a token; percent-decoded; in no repr, no str, no error."""
    server = parse_server("nats://al%40ce:s%3Acret@h:1")
    assert (server.user, server.password, server.token) == ("al@ce", "s:cret", None)
    assert parse_server("nats://t0ken@h").token == "t0ken"
    assert "cret" not in repr(server) + str(server)
    assert "t0ken" not in repr(parse_server("nats://t0ken@h"))
    with pytest.raises(BadServer) as caught:
        parse_server("nats://u:hunter2@h:99999")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("servers", [[], (), "nats://a"])
def test_a_pool_needs_a_list(servers):
    """A string is a list of letters to Python, and a mistake here."""
    with pytest.raises(BadServer, match="a list"):
        Pool(servers, shuffle=still)


def test_the_one_that_rested_longest_is_next():
    """Each waits its time out, and the others go first."""
    pool = Pool(["a", "b"], shuffle=still)
    first = pool.next(None)
    pool.tried(first, 10)
    second = pool.next(None)
    assert (first.host, second.host) == ("a", "b")
    pool.tried(second, 20)
    assert pool.next(None) is first


def test_too_many_failures_in_a_row():
    """A server is given up, the others are not; a connection forgives everybody."""
    pool = Pool(["a", "b"], shuffle=still)
    a, b = pool.servers
    a.failures = 3
    assert pool.next(3) is b
    b.failures = 3
    assert pool.next(3) is None
    assert pool.next(None) is not None
    pool.reached()
    assert pool.next(3) is not None


def test_a_cluster_is_discovered():
    """New members are added, vanished ones leave, and those given by hand stay; secrets and TLS are the cluster's."""
    pool = Pool(["tls://u:p@a.example:1"], shuffle=still)
    current = pool.servers[0]
    pool.discover(["10.0.0.2:2", "b.example:3", "a.example:1", "not an address"], current)
    assert [s.address for s in pool.servers] == [("a.example", 1), ("10.0.0.2", 2), ("b.example", 3)]
    number, name = pool.servers[1:]
    assert (number.user, number.password, number.tls, number.tls_name) == ("u", "p", True, "a.example")
    assert name.tls_name == ""
    pool.discover(["b.example:3"], current)
    assert [s.host for s in pool.servers] == ["a.example", "b.example"]
    pool.discover([], name)
    assert [s.host for s in pool.servers] == ["a.example", "b.example"]


def test_numbers_of_a_numbered_server_are_checked_as_they_are():
    """A certificate's name is borrowed from a name only."""
    pool = Pool(["tls://10.0.0.1:1"], shuffle=still)
    pool.discover(["10.0.0.2:2"], pool.servers[0])
    assert pool.servers[1].tls_name == ""
