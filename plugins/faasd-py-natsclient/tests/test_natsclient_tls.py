"""TLS and who may come in."""

import datetime as dt
import ssl

import pytest
import trio
import trustme

from faasd_py_natsclient import AuthRefused, ConnectFailed, TlsRefused, connect
from faasd_py_natsclient.testing import open_server
from faasd_py_natsclient.tls import TlsWire
from faasd_py_natsclient.wire import SocketWire


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


def context(authority):
    made = ssl.create_default_context()
    authority.configure_trust(made)
    return made


def secured(authority, directory, more="", outside=""):
    """Configuration lines for a server with a certificate of this authority."""
    directory.mkdir(parents=True, exist_ok=True)
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
    authority.cert_pem.write_to_path(directory / "ca.pem")
    files = f'cert_file: "{directory}/server.pem", key_file: "{directory}/server.pem", ca_file: "{directory}/ca.pem"'
    return f"tls {{ {files} {more} }}\n{outside}"


async def works(client):
    client.subscribe("echo", lambda m: client.publish(m.reply, m.data))
    body = bytes(range(256)) * 2000
    assert (await client.request("echo", body, timeout=5)).data == body


async def test_tls_is_negotiated_by_the_greeting(tmp_path, nats_server, authority):
    """A server that requires it gets it; half a megabyte there and back, again after SIGKILL and SIGTERM."""
    async with (
        open_server(tmp_path, extra=secured(authority, tmp_path)) as server,
        connect([server.url], tls=context(authority), reconnect_wait=0.05) as client,
    ):
        assert client.server_info.tls_required
        await works(client)
        for end in [server.kill, server.terminate]:
            await end()
            with trio.fail_after(10):
                while client.connected:
                    await trio.sleep(0.001)
                await server.start()
                await client.wait_connected()
            await works(client)


async def test_many_messages_over_tls(tmp_path, nats_server, authority):
    """20,000 messages each way at once arrive in order."""
    async with (
        open_server(tmp_path, extra=secured(authority, tmp_path)) as server,
        connect([server.url], tls=context(authority)) as client,
    ):
        got = []
        client.subscribe("a", lambda m: got.append(m.data))
        for i in range(20_000):
            client.publish("a", b"%d" % i)
        await client.flush(20)
        assert got == [b"%d" % i for i in range(20_000)]


async def test_large_messages_over_tls(tmp_path, nats_server, authority):
    """100 MiB to itself: reading keeps up with writing."""
    async with (
        open_server(tmp_path, extra=secured(authority, tmp_path)) as server,
        connect([server.url], tls=context(authority)) as client,
    ):
        seen = []
        client.subscribe("big", lambda m: seen.append(len(m.data)))
        body = bytes(client.max_payload)
        for _ in range(100):
            client.publish("big", body)
            await client.wait_room()
        await client.flush(30)
        assert seen == [len(body)] * 100
        assert client.reconnects == 0


async def test_the_ways_a_secured_connection_ends(authority):
    """With TLS's goodbye, without, behind data, and in the middle of a record: the data, then an end, never a wait."""
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(theirs)
    for end in ["goodbye", "hang up", "half a record"]:
        with trio.fail_after(5):
            ours, other = await pair(context(authority), theirs)
            await other.send_all(b"last")
            if end == "goodbye":
                await other.aclose()
            elif end == "half a record":
                await other.transport_stream.send_all(b"\x17\x03\x03\x00\x40half")
            await other.transport_stream.aclose()
            assert await ours.receive() == b"last"
            for _ in range(3):
                assert await ours.receive() == b""
            ours.close()


async def pair(ours, theirs):
    """Our wire, handshake done, and the server's stream."""
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    stream = await trio.open_tcp_stream(*listener.socket.getsockname())
    other = trio.SSLStream(await listener.accept(), theirs, server_side=True)
    await listener.aclose()
    wire = TlsWire(SocketWire(stream.socket), ours, "127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(other.do_handshake)
        nursery.start_soon(wire.handshake)
    return wire, other


async def test_a_server_that_speaks_no_tls_after_all(fake, authority):
    """It asks for TLS and answers our hello with words: ConnectFailed, within the time given."""

    async def behave(peer):
        await peer.say(b'INFO {"tls_required":true}\r\n')
        await peer.stream.receive_some()
        await peer.say(b"-ERR 'what?'\r\n")
        await peer.gone()

    async with fake(behave) as url:
        with trio.fail_after(5), pytest.raises(ConnectFailed, match="TLS: "):
            async with connect([url], tls=context(authority)):
                pass


async def test_tls_before_the_greeting(tmp_path, nats_server, authority):
    """`handshake_first`: the server says nothing until TLS stands."""
    extra = secured(authority, tmp_path, more=", handshake_first: true")
    async with open_server(tmp_path, extra=extra) as server:
        async with connect([server.url], tls=context(authority), tls_first=True) as client:
            await works(client)
        with pytest.raises(ConnectFailed, match=r"no greeting within 0\.3 s"):
            async with connect([server.url], tls=context(authority), connect_timeout=0.3):
                pass


async def test_a_certificate_of_somebody_else_is_refused(tmp_path, nats_server, authority):
    """By the system's roots too, which are what counts when no context is given."""
    async with open_server(tmp_path, extra=secured(authority, tmp_path)) as server:
        for tls in [context(trustme.CA()), None]:
            with pytest.raises(ConnectFailed, match="its certificate is not trusted"):
                async with connect([server.url], tls=tls):
                    pass


async def test_a_certificate_for_another_name_is_refused(tmp_path, nats_server):
    """The name of the address is checked."""
    authority = trustme.CA()
    extra = secured(authority, tmp_path)
    authority.issue_cert("example.org").private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    async with open_server(tmp_path, extra=extra) as server:
        with pytest.raises(ConnectFailed, match="IP address mismatch"):
            async with connect([server.url], tls=context(authority)):
                pass


@pytest.mark.parametrize("by", ["context", "scheme"])
async def test_tls_is_never_given_up(server, authority, by):
    """A server that offers none gets no password in plain text."""
    url = server.url if by == "context" else server.url.replace("nats:", "tls:")
    with pytest.raises(ConnectFailed, match="TLS is configured here, and the server offers none"):
        async with connect([url], tls=context(authority) if by == "context" else None, token="secret"):
            pass


LONG_AGO = {
    "not_before": dt.datetime(2020, 1, 1, tzinfo=dt.UTC),
    "not_after": dt.datetime(2021, 1, 1, tzinfo=dt.UTC),
}


@pytest.mark.parametrize("wait_first", [False, True])
async def test_a_certificate_that_has_expired_is_not_waited_for(tmp_path, nats_server, wait_first):
    """The server's: TlsRefused at once, though another server of the list is only away."""
    authority = trustme.CA()
    extra = secured(authority, tmp_path)
    issued = authority.issue_cert("127.0.0.1", **LONG_AGO)
    issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
    async with open_server(tmp_path, extra=extra) as server:
        with trio.fail_after(5), pytest.raises(TlsRefused, match="not trusted: certificate has expired"):
            async with connect([server.url, "127.0.0.1:9"], tls=context(authority), wait_first=wait_first):
                pass


@pytest.mark.parametrize(
    ("ours", "said"),
    [("none", "certificate required"), ("foreign", "unknown ca"), ("expired", "certificate expired")],
)
async def test_a_server_that_does_not_trust_our_certificate(tmp_path, nats_server, authority, ours, said):
    """Its reason is told; it is not asked again and again."""
    tls = context(authority)
    if ours == "foreign":
        trustme.CA().issue_cert("client@example.org").configure_cert(tls)
    elif ours == "expired":
        authority.issue_cert("client@example.org", **LONG_AGO).configure_cert(tls)
    async with open_server(tmp_path, extra=secured(authority, tmp_path, more=", verify: true")) as server:
        with trio.fail_after(5), pytest.raises(TlsRefused, match=f"does not trust our certificate: {said}"):
            async with connect([server.url], tls=tls, wait_first=True):
                pass


async def test_a_certificate_that_expires_later_is_waited_out(tmp_path, nats_server, caplog):
    """The server comes back with an expired one, and then with a good one: the client is connected again."""
    authority = trustme.CA()
    extra = secured(authority, tmp_path)
    good = (tmp_path / "server.pem").read_bytes()
    async with (
        open_server(tmp_path, extra=extra) as server,
        connect([server.url], tls=context(authority), reconnect_wait=0.05) as client,
    ):
        await server.kill()
        issued = authority.issue_cert("127.0.0.1", **LONG_AGO)
        issued.private_key_and_cert_chain_pem.write_to_path(tmp_path / "server.pem")
        caplog.set_level("INFO", "faasd_py_natsclient")
        await server.start()
        with trio.fail_after(10):
            while "certificate has expired" not in caplog.text:
                await trio.sleep(0.01)
            await server.kill()
            (tmp_path / "server.pem").write_bytes(good)
            await server.start()
            await client.wait_connected()
        await works(client)


async def test_a_client_certificate(tmp_path, nats_server, authority):
    """Asked for by `verify: true`, given by the context."""
    async with open_server(tmp_path, extra=secured(authority, tmp_path, more=", verify: true")) as server:
        with pytest.raises(ConnectFailed):
            async with connect([server.url], tls=context(authority)) as client:
                await client.flush(5)
        ours = context(authority)
        authority.issue_cert("client@example.org").configure_cert(ours)
        async with connect([server.url], tls=ours) as client:
            await works(client)


AUTH = 'authorization { user: "al@ce", password: "p:w/d" }'


@pytest.mark.parametrize("how", ["arguments", "address"])
async def test_user_and_password(tmp_path, nats_server, how):
    """As arguments, or percent-encoded in the address."""
    async with open_server(tmp_path, extra=AUTH) as server:
        url = server.url.replace("//", "//al%40ce:p%3Aw%2Fd@") if how == "address" else server.url
        secrets = {} if how == "address" else {"user": "al@ce", "password": "p:w/d"}
        async with connect([url], **secrets) as client:
            assert client.server_info.auth_required
            await works(client)


@pytest.mark.parametrize("how", ["arguments", "address"])
async def test_a_token(tmp_path, nats_server, how):
    """As an argument, or in the address."""
    async with open_server(tmp_path, extra="authorization { token: t0k }") as server:
        url = server.url.replace("//", "//t0k@") if how == "address" else server.url
        async with connect([url], token=None if how == "address" else "t0k") as client:
            await works(client)


@pytest.mark.parametrize("secrets", [{}, {"user": "al@ce", "password": "hunter2"}, {"token": "hunter2"}])
async def test_wrong_credentials_are_final(tmp_path, nats_server, secrets, caplog):
    """AuthRefused at once, also with wait_first; the secret is in no message and no log."""
    async with open_server(tmp_path, extra=AUTH) as server:
        for wait_first in [False, True]:
            with trio.fail_after(5), pytest.raises(AuthRefused, match="Authorization Violation") as caught:
                async with connect([server.url], wait_first=wait_first, **secrets):
                    pass
            assert "hunter2" not in str(caught.value) + caplog.text
