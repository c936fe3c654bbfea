"""The client's life at a STAN server: let in, kept, lost, let in again."""

from __future__ import annotations

import signal
from contextlib import asynccontextmanager

import pytest
import trio

from faasd_py_nats_streaming import session as sessions
from faasd_py_nats_streaming.channel import Channel
from faasd_py_nats_streaming.errors import Away, Refused, TooLarge, Unconfirmed
from faasd_py_nats_streaming.proto import CloseRequest
from faasd_py_nats_streaming.settings import read_options
from faasd_py_natsclient import connect

from .stan_ground import Broker, until


@asynccontextmanager
async def client(broker: Broker, wait: bool = True, **options):
    """A session that runs."""
    read = read_options(broker.options(connect_timeout="500ms", put_timeout="1s") | options)
    async with connect(read.servers, name=read.client_id, reconnect_wait=0.05, wait_first=True) as nats:
        made = sessions.Session(nats, read)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(made.run)
            if wait:
                with trio.fail_after(10):
                    await made.wait_up()
            try:
                yield made
            finally:
                await made.close()
            nursery.cancel_scope.cancel()


def reading(session, subject="calls", **more):
    """A channel, and what came of it."""
    came = []
    channel = Channel(subject, came.append, group="faas", durable="calls", **more)
    return channel, came


async def put(session, data=b"x", subject="calls", token=None):
    await session.publish(subject, token or session.nats.new_inbox(), data).wait()


async def test_it_is_let_in_and_publishes(shared_broker):
    """Connected, a PubAck after storing, and what is stored is delivered."""
    async with client(shared_broker) as session:
        subject = session._options.subject
        channel, came = reading(session, subject)
        await session.read(channel)
        for number in range(10):
            await put(session, b"%d" % number, subject)
        await until(lambda: len(came) == 10)
        assert [(one.sequence, one.data) for one in came] == [(i + 1, b"%d" % i) for i in range(10)]
        assert not any(one.redelivered for one in came)
        assert session.trouble() is None


async def test_a_wrong_cluster_is_told(shared_broker):
    """Nobody answers there, and everybody is told so at once."""
    async with client(shared_broker, wait=False, cluster_id="other") as session:
        await until(lambda: "no NATS Streaming server for the cluster 'other'" in (session.trouble() or ""))
        with pytest.raises(Away):
            session.publish("calls", "t", b"x")


async def test_a_client_id_that_lives_is_refused(shared_broker):
    """The server asks the first one, who answers; the second waits outside, and is let in when the first has left."""
    async with client(shared_broker, client_id="twin", reconnect_wait="50ms", wait=False) as second:
        async with client(shared_broker, client_id="other-twin") as first:
            assert first.up
        await until(lambda: second.up)
        async with client(shared_broker, client_id="twin", wait=False, reconnect_wait="50ms") as third:
            await until(lambda: "clientID already registered" in (third.trouble() or ""))
            assert second.up
            await put(second)
            await second.close()
            await until(lambda: third.up)
            await put(third)


async def test_a_client_that_was_replaced_notices(shared_broker):
    """Its ping is answered with an error: it registers again, and reads on."""
    async with client(shared_broker) as session:
        subject = session._options.subject
        channel, came = reading(session, subject)
        await session.read(channel)
        generation = session.generation
        data = CloseRequest(clientID=session._options.client_id).SerializeToString()
        await session.nats.request(session._prefixes.closeRequests, data, timeout=2)
        await until(lambda: session.generation > generation)
        await put(session, b"again", subject)
        await until(lambda: [one.data for one in came] == [b"again"])


async def test_publishing_as_a_stranger_is_refused(shared_broker):
    """The server has forgotten us between two pings: the put fails, nothing is stored, and we register again."""
    async with client(shared_broker, ping_interval="60s") as session:
        generation = session.generation
        data = CloseRequest(clientID=session._options.client_id).SerializeToString()
        await session.nats.request(session._prefixes.closeRequests, data, timeout=2)
        with pytest.raises(Refused, match="invalid publish request"):
            await put(session)
        await until(lambda: session.generation > generation)
        await put(session)


async def test_heartbeats_are_answered(make_broker):
    """A server that asks often keeps us; one that gets no answer drops us."""
    broker = make_broker("--hb-interval", "0.05", "--hb-timeout", "0.2", "--hb-fails", "2")
    async with client(broker, ping_interval="100ms") as session:
        asked = 0
        beat = session._beat

        def count(message):
            nonlocal asked
            asked += 1
            beat(message)

        session._heartbeats._deliver = count
        await until(lambda: asked > 5)
        assert session.generation == 1
        session._heartbeats._deliver = lambda _: None
        await until(lambda: session.generation == 2)


async def test_a_server_that_is_gone_is_told_at_once(broker):
    """No responders: nothing was stored, and that is known without waiting for the ack timeout."""
    async with client(broker, put_timeout="60s") as session:
        broker.stan.kill()
        with trio.fail_after(5), pytest.raises(Away):
            await put(session)
        assert "no NATS Streaming server answers" in session.trouble()
        broker.stan.start()
        await until(lambda: session.trouble() is None)
        await put(session)


async def test_a_server_that_is_gone_for_long_is_connected_to_again(broker):
    """Too many pings without an answer: lost; then registered anew."""
    async with client(broker, ping_interval="50ms", reconnect_wait="50ms") as session:
        broker.stan.kill()
        await until(lambda: not session.up)
        assert session.trouble()
        broker.stan.start()
        await until(lambda: session.generation == 2)
        assert session.trouble() is None


async def test_a_server_without_its_memory_is_connected_to_again(broker):
    """Another store: it does not know us, our pings say so."""
    async with client(broker) as session:
        channel, came = reading(session)
        await session.read(channel)
        await put(session, b"before")
        await until(lambda: len(came) == 1)
        broker.stan.kill()
        broker.stan = broker.stan_server(store="other.log")
        broker.stan.start()
        await until(lambda: session.generation == 2)
        await put(session, b"after")
        await until(lambda: [(one.sequence, one.data) for one in came] == [(1, b"before"), (1, b"after")])


async def test_a_frozen_server_times_out(broker):
    """Stored or not, nobody knows: Unconfirmed after the ack timeout; and what it does later is no matter."""
    async with client(broker, put_timeout="200ms", ping_interval="60s") as session:
        broker.stan.send(signal.SIGSTOP)
        pub = session.publish("calls", "slow", b"x")
        session.pubs.expire(trio.current_time())
        assert not pub.done
        await trio.sleep(0.25)
        session.pubs.expire(trio.current_time())
        with pytest.raises(Unconfirmed, match=r"within 0\.2 s"):
            await pub.wait()
        broker.stan.send(signal.SIGCONT)
        await put(session, token="quick")


async def test_after_a_gap_in_the_connection_messages_come_again(broker):
    """NATS is back: we subscribe anew, and do not wait for ack_wait."""
    async with client(broker) as session:
        channel, came = reading(session, ack_wait=600)
        await session.read(channel)
        for _ in range(3):
            await put(session)
        await until(lambda: len(came) == 3)
        channel.ack(1)
        await session.nats.flush(2)
        broker.nats.restart()
        await until(lambda: len(came) >= 5)
        assert {one.sequence for one in came[3:]} <= {1, 2, 3}
        assert all(one.redelivered for one in came[3:])
        await until(lambda: session.up)
        await put(session)


async def test_acks_end_redelivery(shared_broker):
    """Acknowledged, also before the subscription's answer has come: not delivered again to the next."""
    options = shared_broker.options()
    async with client(shared_broker, **options) as session:
        subject = options["subject"]
        channel, came = reading(session, subject)
        channel._deliver = lambda message: (came.append(message), channel.ack(message.sequence))
        for _ in range(5):
            await put(session, b"x", subject)
        await session.read(channel)
        await until(lambda: len(came) == 5)
        await session.nats.flush(2)
        await put(session, b"last", subject)
        await until(lambda: len(came) == 6)
    async with client(shared_broker, **options) as session:
        channel, again = reading(session, subject)
        await session.read(channel)
        await put(session, b"new", subject)
        await until(lambda: again)
        assert [one.data for one in again] == [b"new"]


async def test_max_in_flight_is_kept(shared_broker):
    """No more than so many without an ack."""
    async with client(shared_broker) as session:
        subject = session._options.subject
        channel, came = reading(session, subject, max_in_flight=3)
        await session.read(channel)
        for _ in range(8):
            await put(session, b"x", subject)
        await until(lambda: len(came) == 3)
        await session.nats.flush(2)
        assert len(came) == 3
        channel.ack(1)
        await until(lambda: len(came) == 4)


async def test_what_is_not_acknowledged_in_time_comes_again(shared_broker):
    """With the flag, and the count."""
    async with client(shared_broker) as session:
        subject = session._options.subject
        channel, came = reading(session, subject, ack_wait=1)
        await session.read(channel)
        await put(session, b"x", subject)
        await until(lambda: len(came) == 3)
        assert [(one.sequence, one.redelivered, one.redeliveryCount) for one in came] == [
            (1, False, 0), (1, True, 1), (1, True, 2)
        ]  # fmt: skip
        assert len({one.timestamp for one in came}) == 1


async def test_a_subscription_that_is_refused_is_a_trouble(shared_broker):
    """A needed one: no connection without it. Another: its reader is told."""
    async with client(shared_broker, reconnect_wait="50ms") as session:
        odd = Channel("calls", lambda _: None, group="a:b", durable="d")
        with pytest.raises(Refused, match="invalid subscription"):
            await session.read(odd, needed=False)
        assert session.up
        await session.read(odd)
        await until(lambda: "invalid subscription" in (session.trouble() or ""))
        session._channels.remove(odd)
        await until(lambda: session.up)


async def test_too_large_a_message_is_refused_before_it_is_sent(shared_broker):
    """The NATS server would hang up."""
    async with client(shared_broker) as session:
        with pytest.raises(TooLarge):
            session.publish("calls", "t", b"x" * (1 << 20))
        await put(session)


async def test_many_publications_are_under_way_at_once(shared_broker):
    """Up to the bound, without waiting for each other."""
    async with client(shared_broker, max_pubs_in_flight=8) as session:
        most = 0

        async def one():
            nonlocal most
            await session.room()
            pub = session.publish("many", session.nats.new_inbox(), b"x")
            most = max(most, len(session.pubs))
            await pub.wait()

        async with trio.open_nursery() as nursery:
            for _ in range(100):
                nursery.start_soon(one)
        assert 2 <= most <= 8


async def test_leaving_is_told(shared_broker):
    """The client id is free at once, and what we held goes to the next."""
    options = shared_broker.options(client_id="leaver", ping_interval="60s")
    async with client(shared_broker, **options) as session:
        channel, came = reading(session, options["subject"], ack_wait=600)
        await session.read(channel)
        await put(session, b"x", options["subject"])
        await until(lambda: came)
    assert session.trouble() == "the queue is closed"
    async with client(shared_broker, **options) as session:
        channel, came = reading(session, options["subject"], ack_wait=600)
        await session.read(channel)
        await until(lambda: came)
        assert came[0].redelivered
