"""Publish, request, subscribe, flush and drain against a real server."""

import logging

import pytest
import trio

from faasd_py_natsclient import (
    BadHeader,
    BadSubject,
    BufferFull,
    Closed,
    Mailbox,
    NatsError,
    NoResponders,
    PayloadTooLarge,
    PermissionDenied,
    RequestTimeout,
    connect,
)
from faasd_py_natsclient.testing import open_server

PERMISSIONS = """
authorization { users: [
  { user: boss, password: secret }
  { user: guest, password: secret, permissions: { publish: ["open.>"], subscribe: ["_INBOX_guest.>", "open.>"] } }
] }
"""


def echo(client):
    """A responder that answers with what it got."""
    return lambda message: client.publish(message.reply, message.data, headers=message.headers)


async def test_messages_arrive_in_order_with_headers(client):
    """What is published is delivered as it was, in order, to every subscription that matches."""
    exact, wild, everything = [], [], []
    client.subscribe("a.b", exact.append)
    client.subscribe("a.*", wild.append)
    client.subscribe("a.>", everything.append)
    client.publish("a.b", b"1", headers={"K": "wörd"})
    client.publish("a.b", b"", reply="some.where")
    client.publish("a.b.c", b"3")
    await client.flush(5)
    assert [(m.data, m.headers, m.reply) for m in exact] == [
        (b"1", {"K": "wörd"}, ""),
        (b"", None, "some.where"),
    ]
    assert [m.data for m in wild] == [b"1", b""]
    assert [m.subject for m in everything] == ["a.b", "a.b", "a.b.c"]


async def test_bodies_of_every_kind(client):
    """Empty, of line breaks, of commands, and of exactly what the server takes."""
    got = []
    client.subscribe("x", lambda m: got.append(m.data))
    bodies = [b"", b"\r\n", b"PING\r\n", bytes(range(256)) * 300, bytes(client.max_payload)]
    for body in bodies:
        client.publish("x", body)
        client.publish("x", body[: -100 if len(body) > 100 else None], headers={"A": "b"})
    await client.flush(5)
    assert got[::2] == bodies


async def test_a_queue_group_shares(client):
    """Each message goes to one member of the group."""
    one, two = [], []
    client.subscribe("work", one.append, queue="g")
    client.subscribe("work", two.append, queue="g")
    for _ in range(200):
        client.publish("work", b"")
    await client.flush(5)
    assert len(one) + len(two) == 200
    assert one
    assert two


async def test_unsubscribe_now_and_after_some(client):
    """After unsubscribe nothing is delivered, not even what is on its way; max_messages ends it by itself."""
    some, none = [], []
    client.subscribe("s", some.append, max_messages=3)
    subscription = client.subscribe("s", none.append)
    for _ in range(10):
        client.publish("s", b"")
    subscription.unsubscribe()
    subscription.unsubscribe()
    await client.flush(5)
    assert len(some) == 3
    assert none == []
    assert client._subscriptions == {}


async def test_a_callback_may_unsubscribe_itself(client):
    """In the middle of a batch of messages."""
    got = []

    def once(message):
        got.append(message)
        subscription.unsubscribe()

    subscription = client.subscribe("s", once)
    for _ in range(10):
        client.publish("s", b"")
    await client.flush(5)
    assert len(got) == 1


async def test_a_callback_that_raises_costs_its_own_message_only(client, caplog):
    """The error is logged with its subject; the connection and the subscription go on."""
    got = []

    def deliver(message):
        got.append(message.data)
        if message.data == b"bad":
            raise ValueError("no")

    client.subscribe("s", deliver)
    for data in [b"1", b"bad", b"2"]:
        client.publish("s", data)
    await client.flush(5)
    assert got == [b"1", b"bad", b"2"]
    assert "a callback of subscription 's' failed" in caplog.text


async def test_many_requests_at_once_each_get_their_own_answer(client):
    """500 tasks, one inbox."""
    client.subscribe("echo", echo(client))
    answers = {}

    async def ask(i):
        answers[i] = (await client.request("echo", b"%d" % i, headers={"N": str(i)}, timeout=10)).data

    async with trio.open_nursery() as nursery:
        for i in range(500):
            nursery.start_soon(ask, i)
    assert answers == {i: b"%d" % i for i in range(500)}


async def test_nobody_listens(client):
    """Known at once, not after the timeout."""
    with trio.fail_after(5), pytest.raises(NoResponders, match=r"nobody listens on no\.body"):
        await client.request("no.body", b"", timeout=60)


async def test_nobody_answers(client):
    """A TimeoutError with the subject in it; the late answer harms nobody."""
    asked = []
    client.subscribe("slow", asked.append)
    await client.flush(5)
    with pytest.raises(TimeoutError, match=r"no answer on slow within 0\.2 s") as caught:
        await client.request("slow", b"", timeout=0.2)
    assert isinstance(caught.value, RequestTimeout)
    client.publish(asked[0].reply, b"late")
    await client.flush(5)
    assert len(client._requests) == 0


async def test_a_cancelled_request_leaves_no_trace(client):
    """Cancellation is not an answer, and no error either."""
    client.subscribe("slow", lambda _: None)
    with trio.move_on_after(0.02) as scope:
        await client.request("slow", b"", timeout=60)
    assert scope.cancelled_caught
    assert len(client._requests) == 0


async def test_an_answer_503_with_a_body_is_an_answer(client):
    """Only the server's own empty one means that nobody listens."""
    client.subscribe("s", lambda m: client.publish(m.reply, b"busy", headers={"Status": "503"}))
    assert (await client.request("s", b"", timeout=5)).data == b"busy"


async def test_wrong_calls_are_refused_before_the_wire(client):
    """One clear error each, and the connection goes on."""
    too_much = bytes(client.max_payload + 1)
    with pytest.raises(PayloadTooLarge, match="1048577 bytes: the server takes 1048576"):
        client.publish("a", too_much)
    with pytest.raises(PayloadTooLarge):
        client.publish("a", too_much[:-1], headers={"A": "b"})
    with pytest.raises(PayloadTooLarge):
        await client.request("a", too_much, timeout=1)
    with pytest.raises(BadSubject):
        client.publish("a b", b"")
    with pytest.raises(BadSubject):
        client.publish("a", b"", reply="b\r\nPUB c 0\r\n")
    with pytest.raises(BadHeader):
        client.publish("a", b"", headers={"A": "b\r\nC: d"})
    with pytest.raises(BadSubject):
        client.subscribe("a..b", print)
    with pytest.raises(BadSubject):
        client.subscribe("a", print, queue="two words")
    await client.flush(5)


async def test_the_servers_own_max_payload_counts(tmp_path, nats_server):
    """As told by INFO."""
    async with open_server(tmp_path, extra="max_payload: 100") as server, connect([server.url]) as client:
        assert client.max_payload == 100
        client.publish("a", bytes(100))
        with pytest.raises(PayloadTooLarge):
            client.publish("a", bytes(101))
        await client.flush(5)


async def test_the_server_describes_itself(client, server):
    """Name, version, and that it knows headers."""
    info = client.server_info
    assert info.server_name == "nats"
    assert info.headers
    assert info.version.split(".")[0] == "2"


async def test_inboxes_are_ones_own(client):
    """No two alike; one can be subscribed and answered."""
    assert len({client.new_inbox() for _ in range(100)}) == 100
    got, inbox = [], client.new_inbox()
    client.subscribe(inbox, got.append)
    client.publish(inbox, b"x")
    await client.flush(5)
    assert len(got) == 1


async def test_back_pressure(tmp_path, nats_server):
    """While the server takes nothing, the buffer fills, publish says so, and wait_room waits until it takes again."""
    async with open_server(tmp_path) as server, connect([server.url], max_pending=1_000_000) as client:
        server.pause()
        sent = 0
        with pytest.raises(BufferFull):
            while True:
                client.publish("a", bytes(100_000))
                sent += 1
                await trio.lowlevel.checkpoint()
        assert client.outbox.size < 1_200_000
        with trio.move_on_after(0.05) as scope:
            await client.wait_room()
        assert scope.cancelled_caught
        with pytest.raises(RequestTimeout):
            await client.request("a", b"", timeout=0.05)
        server.resume()
        with trio.fail_after(10):
            await client.wait_room()
        client.publish("a", b"")
        await client.flush(10)


async def test_a_slow_consumer_with_a_mailbox_drops_and_counts(client):
    """The bound holds, nobody else is kept waiting, and what was dropped is known."""
    slow, quick = Mailbox(max_messages=10), []
    client.subscribe("s", slow.deliver)
    client.subscribe("s", quick.append)
    for i in range(100):
        client.publish("s", b"%d" % i)
    await client.flush(5)
    assert (len(slow), slow.dropped, len(quick)) == (10, 90, 100)
    assert (await slow.receive()).data == b"0"


async def test_drain_delivers_and_sends_everything_and_closes(server):
    """What is on its way is delivered, what callbacks publish meanwhile is sent, and then it is over."""
    async with connect([server.url]) as other, connect([server.url]) as client:
        seen = []
        other.subscribe("out", seen.append)
        await other.flush(5)
        client.subscribe("in", lambda m: client.publish("out", m.data))
        for i in range(100):
            client.publish("in", b"%d" % i)
        await client.drain()
        assert client.closed
        assert not client.connected
        with pytest.raises(Closed, match="drained"):
            client.publish("in", b"")
        for wait in [client.wait_connected, client.wait_room, client.drain]:
            with pytest.raises(Closed):
                await wait()
        with pytest.raises(Closed):
            await client.request("in", b"", timeout=1)
        with pytest.raises(Closed):
            client.subscribe("in", print)
        await other.flush(5)
        assert len(seen) == 100


async def test_the_end_of_the_block_sends_what_was_published(server):
    """Publishing last and leaving loses nothing."""
    async with connect([server.url]) as other:
        got = []
        other.subscribe("a", got.append)
        await other.flush(5)
        async with connect([server.url]) as client:
            for _ in range(1000):
                client.publish("a", bytes(1000))
        await other.flush(5)
        assert len(got) == 1000
        with pytest.raises(Closed, match="the client's block has ended"):
            client.publish("a", b"")


async def test_what_the_server_does_not_permit(tmp_path, nats_server, caplog):
    """A request there fails at once; a publish is logged and told to on_error; the connection goes on."""
    async with open_server(tmp_path, extra=PERMISSIONS) as server:
        url = server.url.replace("//", "//guest:secret@")
        async with connect([url], inbox_prefix="_INBOX_guest") as client:
            complaints = []
            client.on_error += [complaints.append, lambda _: 1 / 0]
            with trio.fail_after(5), pytest.raises(PermissionDenied, match="Permissions Violation"):
                await client.request("closed.x", b"", timeout=60)
            client.publish("closed.y", b"")
            client.subscribe("closed.z", print)
            client.subscribe("open.echo", echo(client))
            await client.flush(5)
            assert len(complaints) == 3
            assert "an error callback failed" in caplog.text
            with pytest.raises(RequestTimeout):  # the responder may not answer to that inbox
                await client.request("open.echo", b"hi", timeout=0.2)
            assert client.connected


async def test_errors_of_the_block_come_out_as_they_are(server):
    """No exception group around the caller's own error, nor around cancellation."""
    with pytest.raises(ZeroDivisionError):
        async with connect([server.url]):
            raise ZeroDivisionError
    with trio.move_on_after(0.05) as scope:
        async with connect([server.url]):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    with trio.CancelScope() as scope, pytest.raises(NatsError, match="mine"):
        async with connect([server.url]):
            scope.cancel()
            try:
                await trio.sleep_forever()
            finally:
                raise NatsError("mine")


async def test_nothing_is_left_behind(server, caplog):
    """A block that is left closes its socket, quietly."""
    caplog.set_level(logging.INFO)
    for _ in range(20):
        async with connect([server.url]) as client:
            await client.flush(5)
    assert caplog.text == ""


async def test_wrong_subscriptions_are_refused(client):
    """A coroutine function would never run, and less than one message is none."""

    async def deliver(message):
        pass

    with pytest.raises(ValueError, match="plain function"):
        client.subscribe("a", deliver)
    with pytest.raises(ValueError, match="at least 1"):
        client.subscribe("a", print, max_messages=0)


@pytest.mark.parametrize(
    "option",
    [
        {"ping_interval": 0},
        {"reconnect_wait": -1.0},
        {"max_pending": 0},
        {"inbox_prefix": "a b"},
        {"connect_timeout": float("nan")},
    ],
)
async def test_options_that_make_no_sense(option):
    """Refused before anything is tried."""
    with pytest.raises(ValueError, match="|".join([*option, "subject"])):
        async with connect(["127.0.0.1:1"], **option):
            pass


async def test_any_number_of_flushes_at_once(tmp_path, nats_server):
    """They are no sign of a dead server, however the pinger falls between them."""
    async with open_server(tmp_path) as server, connect([server.url], ping_interval=0.01) as client:
        async with trio.open_nursery() as nursery:
            for _ in range(3000):
                nursery.start_soon(client.flush, 20)
            await trio.sleep(0.03)
        assert client.reconnects == 0


async def test_a_client_that_hears_itself_keeps_up(client):
    """150 MiB to itself in large messages, as fast as may be: it is not a slow consumer to the server."""
    seen = []
    client.subscribe("big", lambda m: seen.append(len(m.data)))
    body = bytes(client.max_payload)
    for _ in range(150):
        client.publish("big", body)
        await client.wait_room()
    await client.flush(30)
    assert seen == [len(body)] * 150
    assert client.reconnects == 0
