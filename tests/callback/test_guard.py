"""Whom callbacks may reach: asked when a call is accepted, and about the address that is connected to."""

from __future__ import annotations

import socket

import pytest
import trio

from faasd_py.callback.guard import AddressRefused, Guard, check_url, is_own, own_names
from faasd_py.callback.url import parse_url
from faasd_py.core.errors import BadOption
from faasd_py.http.errors import ConnectFailed
from tests.callback.receiver import receiving, says, status

DEFAULT = ["public", "private"]
OWN = own_names(["gateway", "gateway.openfaas", "127.0.0.1", "localhost"], ["127.0.0.1:9090", "unix:/run/x"])


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com/", "https://10.1.2.3/", "http://8.8.8.8/", "http://[fd00::1]/", "http://localhost:81/",
     "http://[2606:4700::1]:444/x"],
)  # fmt: skip
def test_accepted(url):
    """Names are taken until they are resolved, and addresses that the list names."""
    assert check_url(url, DEFAULT, OWN).url == url


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:81/", "loopback"),
        ("http://2130706433:81/", "loopback"),
        ("http://0x7f.1:81/", "loopback"),
        ("http://0177.0.0.1:81/", "loopback"),
        ("http://[::1]/", "loopback"),
        ("http://[::ffff:127.0.0.1]/", "loopback"),
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("http://[::ffff:a9fe:a9fe]/", "link-local"),
        ("http://0.0.0.0/", "reserved"),
        ("http://0/", "reserved"),
        ("http://[::]/", "reserved"),
        ("http://100.64.0.1/", "reserved"),
        ("http://224.0.0.1/", "reserved"),
        ("ftp://hooks.example.com/", "http or https"),
    ],
)
def test_refused_at_once(url, reason):
    """A literal address that may not be called is refused when the call is accepted, in every spelling."""
    with pytest.raises(BadOption, match=reason):
        check_url(url, DEFAULT, OWN)


def test_own_names():
    """Ours by name without a port, with a port we listen on, or with OpenFaaS' port for names that are not the box's."""
    ours = ["http://gateway/function/f", "http://gateway:8080/x", "http://GATEWAY.openfaas.:9090/", "http://127.0.0.1:9090/",
            "http://localhost/x", "http://gateway:80/"]  # fmt: skip
    others = ["http://127.0.0.1:8080/", "http://localhost:8080/", "http://gateway:81/", "http://gateway.evil.com/",
              "https://gateway:8443/", "http://127.0.0.2:9090/"]  # fmt: skip
    assert all(is_own(parse_url(url), OWN) for url in ours)
    assert not any(is_own(parse_url(url), OWN) for url in others)


def test_our_own_gateway_is_always_allowed():
    """Whatever the list says."""
    assert check_url("http://127.0.0.1:9090/function/f", [], OWN).port == 9090
    assert check_url("http://0x7f000001:9090/function/f", [], OWN).host == "127.0.0.1"


def resolver(*answers: list[str]):
    """Gives these answers in turn; the last one for good."""
    left = list(answers)
    asked = []

    async def resolve(host: str) -> list[str]:
        asked.append(host)
        await trio.lowlevel.checkpoint()
        return left.pop(0) if len(left) > 1 else left[0]

    resolve.asked = asked
    return resolve


async def test_a_name_that_leads_to_a_refused_address():
    """What a name resolves to is checked, and the reason names both."""
    async with receiving(says(status(200))) as receiver:
        guard = Guard(DEFAULT, resolver(["127.0.0.1"]))
        with pytest.raises(AddressRefused, match=r"evil\.example: 127\.0\.0\.1 is a loopback address"):
            await guard.dial("evil.example", receiver.port, 5)()
        assert receiver.connections == 0


async def test_rebinding():
    """The address that was checked is the one connected to: a name is asked once per connection, and never believed twice."""
    async with receiving(says(status(200)), host="127.0.0.1") as inside:
        resolve = resolver(["127.0.0.2"], ["127.0.0.1"])
        guard = Guard(["127.0.0.2/32"], resolve)
        dial = guard.dial("rebind.example", inside.port, 5)
        with pytest.raises(ConnectFailed) as first:
            await dial()
        assert not isinstance(first.value, AddressRefused), (
            "the first answer was allowed, and nobody listens there"
        )
        assert resolve.asked == ["rebind.example"]
        with pytest.raises(AddressRefused):
            await dial()
        assert inside.connections == 0


async def test_only_the_allowed_addresses_of_a_name_are_tried():
    """A name with good and bad addresses is reached by the good ones."""
    async with receiving(says(status(200)), host="127.0.0.2") as good, receiving(says(status(200))) as bad:
        guard = Guard(["127.0.0.2"], resolver(["127.0.0.1", "::1", "0.0.0.0", "127.0.0.2"]))
        sock = await guard.dial("mixed.example", good.port, 5)()
        with sock:
            assert sock.getpeername() == ("127.0.0.2", good.port)
        assert bad.connections == 0


async def test_the_next_address_when_one_does_not_answer():
    """Every allowed address has its try."""
    async with receiving(says(status(200)), host="127.0.0.3") as there:
        guard = Guard(["loopback"], resolver(["127.0.0.2", "127.0.0.3"]))
        sock = await guard.dial("two.example", there.port, 5)()
        with sock:
            assert sock.getpeername()[0] == "127.0.0.3"


async def test_hosts_on_the_list_are_trusted_by_name():
    """`*.lan` is called wherever it lies."""
    async with receiving(says(status(200))) as receiver:
        guard = Guard(["*.lan"], resolver(["127.0.0.1"]))
        with await guard.dial("nas.lan", receiver.port, 5)():
            pass
        with pytest.raises(AddressRefused):
            await guard.dial("nas.lan.evil.com", receiver.port, 5)()


async def test_an_address_needs_no_resolver():
    """Literal addresses are checked without asking anybody."""
    resolve = resolver([])
    with pytest.raises(AddressRefused, match=r"^127\.0\.0\.1 is a loopback"):
        await Guard([], resolve).dial("127.0.0.1", 80, 5)()
    assert resolve.asked == []


async def test_a_name_that_is_not_known():
    """Neither an error of the resolver nor an empty answer is a refusal: it may be known later."""

    async def unknown(host):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    for resolve, reason in ((unknown, "not known"), (resolver([]), "has no address")):
        with pytest.raises(ConnectFailed, match=reason) as caught:
            await Guard(DEFAULT, resolve).dial("nowhere.example", 80, 5)()
        assert not isinstance(caught.value, AddressRefused)


async def test_the_system_s_resolver():
    """The name localhost is looked up in a thread, and is loopback."""
    async with receiving(says(status(200))) as receiver:
        with pytest.raises(AddressRefused):
            await Guard(DEFAULT).dial("localhost", receiver.port, 5)()
        guard = Guard(["loopback"])
        with await guard.dial("localhost", receiver.port, 5)():
            pass


async def test_nobody_listens():
    """A refused connection says who refused it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        with pytest.raises(ConnectFailed, match=r"127\.0\.0\.1"):
            await Guard(["loopback"]).dial("127.0.0.1", port, 5)()


async def test_a_scope_is_cut_off():
    """Resolvers may give fe80::1%eth0: it is judged, not a crash."""
    with pytest.raises(AddressRefused, match="link-local"):
        await Guard(DEFAULT, resolver(["fe80::1%eth0"])).dial("odd.example", 80, 5)()
