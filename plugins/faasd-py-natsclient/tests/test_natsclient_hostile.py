"""Servers that are none, that stop half-way, and that say what no server says."""

import itertools
import socket

import pytest
import trio

from faasd_py_natsclient import (
    AuthRefused,
    BadHeader,
    BufferFull,
    ConnectFailed,
    Disconnected,
    RequestTimeout,
    connect,
)
from faasd_py_natsclient.wire import refuse_ourselves

QUICK = {"connect_timeout": 0.3, "reconnect_wait": 0.05, "close_timeout": 0.05}


@pytest.mark.parametrize(
    ("greeting", "reason"),
    [
        (b"", "no greeting within"),
        (b"INFO {", "no greeting within"),
        (b'INFO {"max_payload":1', "no greeting within"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not greet as a NATS server"),
        (b"INFO what\r\n", "does not greet as a NATS server"),
        (b"PING\r\n", "does not greet as a NATS server"),
        (b"INFO {}\r\nINFO {}\r\n", "does not greet as a NATS server"),
        (b"-ERR 'maximum connections exceeded'\r\n", "maximum connections exceeded"),
        (b"x" * 2_000_000, "does not greet as a NATS server"),
        (b"INFO {}\r\n", "no greeting within"),
    ],
)
async def test_a_greeting_that_is_none(fake, greeting, reason):
    """ConnectFailed with the reason, within connect_timeout."""

    async def behave(peer):
        await peer.say(greeting)
        await peer.gone()

    async with fake(behave) as url:
        with trio.fail_after(5), pytest.raises(ConnectFailed, match=reason):
            async with connect([url], **QUICK):
                pass


@pytest.mark.parametrize("at", ["greeting", "connect"])
async def test_hanging_up(fake, at):
    """Before the greeting, or on our CONNECT."""

    async def behave(peer):
        if at == "connect":
            await peer.say(b"INFO {}\r\n")
            await peer.hear(b"PING\r\n")

    async with fake(behave) as url:
        with trio.fail_after(5), pytest.raises(ConnectFailed, match="it hung up"):
            async with connect([url], **QUICK):
                pass


@pytest.mark.parametrize(
    ("answer", "error", "reason"),
    [
        (b"-ERR 'Authorization Violation'\r\n", AuthRefused, "did not ask for credentials"),
        (b"-ERR 'User Authentication Expired'\r\n", AuthRefused, "Expired"),
        (b"-ERR 'Maximum Account Active Connections Exceeded'\r\n", ConnectFailed, "Maximum Account"),
        (b"-ERR 'Authorization Timeout'\r\n", ConnectFailed, "Timeout"),
        (b"what?\r\n", ConnectFailed, "begins with"),
        (b"MSG a 1 99999999999\r\n", ConnectFailed, "a message of"),
    ],
)
async def test_answers_to_connect(fake, answer, error, reason):
    """Refused credentials are final, everything else may be better next time."""

    async def behave(peer):
        await peer.say(b"INFO {}\r\n")
        await peer.hear(b"PING\r\n")
        await peer.say(answer)
        await peer.gone()

    async with fake(behave) as url:
        with trio.fail_after(5), pytest.raises(error, match=reason):
            async with connect([url], **QUICK):
                pass


async def test_bytes_before_tls_are_refused(fake):
    """Nothing that was injected in plain text is taken for the secured server's word."""

    async def behave(peer):
        await peer.say(b'INFO {"tls_required":true}\r\nMSG a 1')
        await peer.gone()

    async with fake(behave) as url:
        with trio.fail_after(5), pytest.raises(ConnectFailed, match="spoke on before TLS"):
            async with connect([url], **QUICK):
                pass


async def test_the_handshake_hears_pings_and_news(fake):
    """A PING, +OK and INFO between CONNECT and PONG, and a message right behind it."""

    async def behave(peer):
        await peer.say(b"INFO {}\r\n")
        await peer.hear(b"PING\r\n")
        await peer.say(b'+OK\r\nPING\r\nINFO {"max_payload":77}\r\nPONG\r\nINFO {"server_name":"late"}\r\n')
        await peer.hear(b"PONG\r\n")
        await peer.gone()

    async with fake(behave) as url, connect([url], **QUICK) as client:
        with trio.fail_after(5):
            while client.server_info.server_name != "late":
                await trio.sleep(0.001)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\0" * 100 + b"\r\n",
        b"MSG a 2 3\r\nabcd\r\n",
        b"HMSG a 2 9 3\r\nabc\r\n",
        b"INFO [1]\r\n",
        b"x" * 1_200_000,
    ],
)
async def test_garbage_ends_the_connection_and_the_next_is_made(fake, garbage, caplog):
    """Whoever waits gets Disconnected at once, with the reason; the client comes back."""
    visits = []

    async def behave(peer):
        visits.append(peer)
        await peer.let_in()
        if len(visits) == 1:
            await peer.hear(b"PUB ask")
            await peer.say(garbage)
        await peer.gone()

    async with fake(behave) as url, connect([url], **QUICK) as client:
        with trio.fail_after(10):
            with pytest.raises(Disconnected, match="not NATS"):
                await client.request("ask", b"", timeout=60)
            while not client.reconnects:
                await trio.sleep(0.001)
        assert "lost the NATS server" in caplog.text


async def test_a_message_that_never_ends_is_left_to_the_pings(fake):
    """Half a message and then silence: the watchdog ends it."""

    async def behave(peer):
        await peer.let_in()
        await peer.say(b"MSG a 2 1000\r\nhalf")
        await peer.gone()

    async with fake(behave) as url, connect([url], ping_interval=0.05, **QUICK) as client:
        with trio.fail_after(5), pytest.raises(Disconnected, match="pings without an answer"):
            await client.flush(60)


async def test_messages_for_nobody_are_nobodys(fake):
    """Unknown sids, answers to no request, and an answer whose subject is shorter than ours."""

    async def behave(peer):
        await peer.let_in()
        await peer.hear(b"PING\r\n")
        await peer.say(
            b"MSG a 999 0\r\n\r\nMSG _INBOX.x.5 1 0\r\n\r\nMSG a 1 0\r\n\r\n+OK\r\nPONG\r\nPONG\r\nPONG\r\n"
        )
        await peer.hear(b"PING\r\n")
        await peer.say(b"PONG\r\n")
        await peer.gone()

    async with fake(behave) as url, connect([url], **QUICK) as client:
        await client.flush(5)
        with pytest.raises(RequestTimeout):
            await client.flush(0.3)


async def test_a_server_that_pings_and_does_not_read_fills_no_memory(fake):
    """Answers to its pings are bounded like everything else."""

    async def behave(peer):
        await peer.let_in()
        peer.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        while True:
            await peer.say(b"PING\r\n" * 10_000)

    async with fake(behave) as url, connect([url], max_pending=10_000, **QUICK) as client:
        with trio.fail_after(30):
            while client.connected and client.outbox.size < 10_000:
                await trio.sleep(0.01)
            for _ in range(20):
                await trio.sleep(0.01)
                assert client.outbox.size <= 10_000 + 64 * 1024 + 6
            with pytest.raises((BufferFull, Disconnected)):
                client.publish("a", b"")


async def test_the_servers_last_words_are_the_reason(fake, caplog):
    """-ERR and then the end: the error is what the log and the waiting hear."""

    async def behave(peer):
        await peer.let_in()
        await peer.hear(b"PUB ask")
        await peer.say(b"-ERR 'Stale Connection'\r\n")

    async with fake(behave) as url, connect([url], **QUICK) as client:
        with trio.fail_after(5), pytest.raises(Disconnected, match="hung up: Stale Connection"):
            await client.request("ask", b"", timeout=60)


async def test_a_server_that_comes_and_goes_is_not_besieged(fake):
    """Let in and thrown out at once, the client waits between two visits all the same."""
    visits = []

    async def behave(peer):
        visits.append(trio.current_time())
        await peer.let_in()

    async with fake(behave) as url, connect([url], reconnect_wait=0.2, close_timeout=0.05):
        await trio.sleep(0.7)
    assert 2 <= len(visits) <= 8
    assert all(later - earlier >= 0.09 for earlier, later in itertools.pairwise(visits))


async def test_news_of_a_smaller_max_payload_counts(fake):
    """INFO may come at any time."""

    async def behave(peer):
        await peer.let_in()
        await peer.say(b'INFO {"max_payload":5,"connect_urls":["127.0.0.1:1", 7, "bad address"]}\r\n')
        await peer.gone()

    async with fake(behave) as url, connect([url], **QUICK) as client:
        with trio.fail_after(5):
            while client.max_payload != 5:
                await trio.sleep(0.001)


async def test_a_socket_connected_to_itself_is_nobody():
    """TCP allows it on loopback: whoever dials a dead server's port may meet himself."""
    ours = trio.socket.socket()
    with ours:
        await ours.bind(("127.0.0.1", 0))
        await ours.connect(ours.getsockname())
        with pytest.raises(ConnectionRefusedError):
            refuse_ourselves(ours)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        stream = await trio.open_tcp_stream(*listener.getsockname())
        refuse_ourselves(stream.socket)
        await stream.aclose()


async def test_a_server_without_headers_gets_none(fake):
    """One from before 2.2 would take HPUB for an error and hang up."""

    async def behave(peer):
        await peer.let_in(b'INFO {"version":"2.1.9"}\r\n')
        await peer.gone()

    async with fake(behave) as url, connect([url], **QUICK) as client:
        with pytest.raises(BadHeader, match="too old for headers"):
            client.publish("a", b"", headers={"A": "b"})


async def test_many_flushes_and_a_slow_server(fake):
    """Hundreds of unanswered round trips are one unanswered ping to the watchdog."""

    async def behave(peer):
        await peer.let_in()
        await peer.hear(b"PING\r\n" * 100)
        await trio.sleep(0.15)
        await peer.say(b"PONG\r\n" * 101)
        await peer.gone()

    async with fake(behave) as url, connect([url], ping_interval=0.1, **QUICK) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(client.flush, 5)
        assert client.reconnects == 0
