"""Servers that go away: killed, restarted, stopped, replaced by the next."""

import pytest
import trio
import trio.testing

from faasd_py_natsclient import (
    AuthRefused,
    Closed,
    ConnectFailed,
    Disconnected,
    NoResponders,
    RequestTimeout,
    connect,
)
from faasd_py_natsclient.testing import free_port, make_server, open_cluster, open_server, wait_cluster


async def gone(client):
    """Until the client knows that its connection is lost."""
    with trio.fail_after(10):
        while client.connected:
            await trio.sleep(0.001)


async def back(client, times=1):
    """Until it has had so many others."""
    with trio.fail_after(10):
        while not (client.reconnects == times and client.connected):
            await trio.sleep(0.001)


async def test_pending_requests_fail_at_once_when_the_server_is_killed(client, server):
    """SIGKILL: Disconnected long before the timeout, for each of them, and for a flush."""
    client.subscribe("slow", lambda _: None)
    errors = []

    async def ask(call, *args, **options):
        try:
            await call(*args, **options)
        except Disconnected as error:
            errors.append(str(error))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for _ in range(50):
                nursery.start_soon(lambda: ask(client.request, "slow", b"", timeout=60))
            await client.flush(5)
            server.pause()
            nursery.start_soon(ask, client.flush, 60)
            await trio.lowlevel.checkpoint()
            await server.kill()
    assert len(errors) == 51
    assert all("connection lost" in error for error in errors)


async def test_subscriptions_come_back_with_the_server(client, server):
    """After kill -9 and a restart on the same port everything works as before, in the same subscriptions."""
    got, events = [], []
    client.on_disconnected += [lambda: events.append("down"), lambda: 1 / 0]
    client.on_reconnected.append(lambda: events.append("up"))
    client.subscribe("a.*", got.append)
    client.subscribe("echo", lambda m: client.publish(m.reply, m.data))
    for round_ in range(3):
        await client.flush(5)
        await server.kill()
        await gone(client)
        with pytest.raises(Disconnected):
            await client.request("echo", b"", timeout=60)
        with pytest.raises(Disconnected):
            await client.flush(60)
        with pytest.raises(Disconnected):
            await client.drain()
        await server.start()
        await back(client, round_ + 1)
        client.publish("a.b", b"%d" % round_)
        assert (await client.request("echo", b"hi", timeout=5)).data == b"hi"
    assert [m.data for m in got] == [b"0", b"1", b"2"]
    assert events == ["down", "up"] * 3
    assert client.reconnects == 3


async def test_what_is_published_meanwhile_waits(client, server):
    """In order, and behind the subscriptions that are made meanwhile; what was unsubscribed stays so."""
    got, old = [], []
    subscription = client.subscribe("a", old.append)
    await client.flush(5)
    await server.kill()
    await gone(client)
    subscription.unsubscribe()
    for i in range(100):
        client.publish("a", b"%d" % i)
    client.subscribe("a", got.append)
    await server.start()
    await back(client)
    await client.flush(5)
    assert [m.data for m in got] == [b"%d" % i for i in range(100)]
    assert old == []


async def test_a_full_buffer_without_a_connection(tmp_path, nats_server):
    """Publish raises Disconnected when as much waits as may; wait_room and wait_connected end with the reconnect."""
    async with (
        open_server(tmp_path) as server,
        connect([server.url], reconnect_wait=0.05, max_pending=1000) as client,
    ):
        await server.kill()
        await gone(client)
        for _ in range(9):
            client.publish("a", bytes(100))
        with pytest.raises(Disconnected, match="1017 bytes wait"):
            client.publish("a", b"")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.wait_room)
            nursery.start_soon(client.wait_connected)
            await server.start()
        client.publish("a", b"")
        await client.flush(5)


async def test_max_messages_is_counted_across_connections(client, server):
    """Three in all, not three for each connection."""
    got = []
    client.subscribe("a", got.append, max_messages=3)
    client.publish("a", b"")
    client.publish("a", b"")
    await client.flush(5)
    await server.restart()
    await back(client)
    for _ in range(5):
        client.publish("a", b"")
    await client.flush(5)
    assert len(got) == 3
    assert client._subscriptions == {}


async def test_a_stopped_server_is_noticed_by_its_silence(tmp_path, nats_server):
    """SIGSTOP keeps TCP alive; unanswered pings tell. When it goes on, so do we."""
    async with (
        open_server(tmp_path) as server,
        connect([server.url], ping_interval=0.05, reconnect_wait=0.05, connect_timeout=0.3) as client,
    ):
        for _ in range(5):
            await client.flush(5)
            await trio.sleep(0.05)
        assert client.reconnects == 0
        server.pause()
        with trio.fail_after(5), pytest.raises(Disconnected, match="2 pings without an answer"):
            await client.request("a", b"", timeout=60)
        server.resume()
        await back(client)
        await client.flush(5)


async def test_the_next_server_is_taken(tmp_path, nats_server):
    """Two servers that know nothing of each other: what the one had is asked of the other."""
    async with (
        open_server(tmp_path, name="a") as a,
        open_server(tmp_path, name="b") as b,
        connect([a.url, b.url], reconnect_wait=0.05) as client,
    ):
        got = []
        client.subscribe("x", got.append)
        await client.flush(5)
        first = client.server_info.server_name
        await (a if first == "a" else b).kill()
        await back(client)
        assert {first, client.server_info.server_name} == {"a", "b"}
        client.publish("x", b"")
        await client.flush(5)
        assert len(got) == 1


async def test_a_clusters_members_are_discovered(tmp_path, nats_server):
    """One address is enough: when that server is killed, the client goes on at another."""
    async with (
        open_cluster(3, tmp_path, jetstream=False) as servers,
        connect([servers[0].url], reconnect_wait=0.05) as client,
    ):
        assert client.server_info.server_name == "nats1"
        assert len(client.server_info.connect_urls) == 3
        await servers[0].kill()
        await back(client)
        assert client.server_info.server_name in {"nats2", "nats3"}
        await client.flush(5)


async def test_attempts_are_used_up(tmp_path, nats_server):
    """After max_reconnect failures in a row Closed comes out of the block, plainly, and everybody who waits has it."""
    async with open_server(tmp_path) as server:
        with trio.fail_after(10), pytest.raises(Closed, match="no NATS server left"):
            async with connect([server.url], reconnect_wait=0.02, max_reconnect=3) as client:
                await server.kill()
                with pytest.raises(Closed):
                    while True:
                        await gone(client)
                        await client.wait_connected()
                with pytest.raises(Closed):
                    client.publish("a", b"")
                await trio.sleep_forever()


async def test_no_reconnect_at_all(tmp_path, nats_server):
    """max_reconnect=0: the first loss is the last."""
    async with open_server(tmp_path) as server:
        with trio.fail_after(10), pytest.raises(Closed):
            async with connect([server.url], max_reconnect=0):
                await server.kill()
                await trio.sleep_forever()


async def test_credentials_that_are_refused_later_are_final(tmp_path, nats_server):
    """The server comes back with another password: AuthRefused out of the block, after one attempt."""
    one, two = "authorization { token: one }", "authorization { token: two }"
    async with open_server(tmp_path, extra=one) as server:
        with trio.fail_after(10), pytest.raises(AuthRefused, match="Authorization Violation"):
            async with connect([server.url], token="one", reconnect_wait=0.05):
                await server.kill()
                make_server(tmp_path, port=server.port, extra=two)
                await server.start()
                await trio.sleep_forever()


async def test_no_server_at_first(tmp_path, nats_server):
    """ConnectFailed with the address and the reason; with wait_first the block begins and the server may come."""
    port = free_port()
    url = f"nats://127.0.0.1:{port}"
    with pytest.raises(ConnectFailed, match=rf"127.0.0.1:{port}: Connection refused"):
        async with connect([url]):
            pass
    async with connect([url], wait_first=True, reconnect_wait=0.05) as client:
        assert not client.connected
        got = []
        client.subscribe("a", got.append)
        client.publish("a", b"early")
        async with open_server(tmp_path, port=port):
            await back(client)
            await client.flush(5)
            assert [m.data for m in got] == [b"early"]


async def test_one_of_several_is_enough_at_first(server):
    """Dead addresses are passed over."""
    dead = f"nats://127.0.0.1:{free_port()}"
    for _ in range(4):
        async with connect([dead, server.url]) as client:
            assert client.connected


async def test_a_weather_of_kills_loses_no_task(client, server):
    """Requests go on from 20 tasks while the server is killed five times: each ends, with an answer or Disconnected."""
    client.subscribe("echo", lambda m: client.publish(m.reply, m.data))
    ends = {"answered": 0, "lost": 0}
    stop = trio.Event()

    async def ask():
        while not stop.is_set():
            try:
                await client.wait_connected()
                assert (await client.request("echo", b"x", timeout=20)).data == b"x"
                ends["answered"] += 1
            except Disconnected:
                ends["lost"] += 1

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(ask)
            for _ in range(5):
                seen = ends["answered"]
                while ends["answered"] < seen + 200:
                    await trio.sleep(0.005)
                await server.restart()
            stop.set()
    assert ends["answered"] >= 1000
    assert ends["lost"] >= 5


async def test_a_drain_that_is_interrupted_is_the_end_all_the_same(tmp_path, nats_server):
    """The server dies while the client takes leave: Disconnected or Closed at once, and closed."""
    async with open_server(tmp_path) as server, connect([server.url], reconnect_wait=0.05) as client:
        server.pause()
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def leave():
                with trio.fail_after(5), pytest.raises(Disconnected):
                    await client.drain(60)

            await trio.testing.wait_all_tasks_blocked(0.02)
            await server.kill()
        assert client.closed
        with pytest.raises(Closed):
            await client.wait_connected()


async def test_what_a_callback_publishes_on_reconnect_comes_first(client, server):
    """Behind the subscriptions, before whoever waited for the connection."""
    got = []
    client.subscribe("a", lambda m: got.append(m.data))
    client.on_reconnected.append(lambda: client.publish("a", b"callback"))
    await server.kill()
    await gone(client)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def wait():
            await client.wait_connected()
            client.publish("a", b"waiter")

        await trio.testing.wait_all_tasks_blocked(0.02)
        await server.start()
    await client.flush(5)
    assert got == [b"callback", b"waiter"]


async def test_a_server_that_is_killed_in_the_middle_of_large_messages(client, server):
    """What arrives is whole; what was cut is not there; the client goes on."""
    got, body = [], bytes(range(256)) * 4000
    client.subscribe("big", lambda m: got.append(m.data))
    for round_ in range(3):
        for _ in range(20):
            client.publish("big", body)
            await client.wait_room()
        await server.restart()
        await back(client, round_ + 1)
    client.publish("big", b"end")
    await client.flush(10)
    assert got[-1] == b"end"
    assert set(got[:-1]) <= {body}


async def test_a_rolling_restart_of_a_cluster(tmp_path, nats_server):
    """Each of three servers is killed and started in turn: a subscriber and a requester on different servers go on."""
    async with (
        open_cluster(3, tmp_path, jetstream=False) as servers,
        connect([s.url for s in servers], reconnect_wait=0.05) as asking,
        connect([s.url for s in servers], reconnect_wait=0.05) as answering,
    ):
        answering.subscribe("echo", lambda m: answering.publish(m.reply, m.data))
        for server in servers:
            await server.restart()
            await wait_cluster(servers)
            assert await answered(asking) == b"hi"
        assert asking.reconnects >= 1
        assert answering.reconnects >= 1


async def answered(client):
    """A caller's own patience: interest spreads through a cluster a little after the connection stands."""
    with trio.fail_after(10):
        while True:
            try:
                return (await client.request("echo", b"hi", timeout=1)).data
            except (Disconnected, NoResponders, RequestTimeout):
                await trio.sleep(0.01)


async def test_an_error_of_the_block_while_the_server_is_away(client, server):
    """It comes out as it is, at once: nobody waits for the server."""
    with trio.fail_after(1), pytest.raises(ZeroDivisionError):
        async with connect([server.url]) as other:
            await server.kill()
            await gone(other)
            raise ZeroDivisionError


async def test_addresses_that_are_told_may_be_left_alone(tmp_path, nats_server):
    """discover=False: only those given by hand."""
    async with (
        open_cluster(2, tmp_path, jetstream=False) as servers,
        connect([servers[0].url], reconnect_wait=0.02, discover=False) as client,
    ):
        await servers[0].kill()
        await gone(client)
        with trio.move_on_after(0.3):
            await client.wait_connected()
        assert not client.connected
        await servers[0].start()
        await back(client)
        assert client.server_info.server_name == "nats1"
