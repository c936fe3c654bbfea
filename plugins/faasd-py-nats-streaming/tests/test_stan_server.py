"""The server double is worth testing against: what it stores survives kill -9, and it says what the real one says."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest

from faasd_py_nats_streaming import proto
from faasd_py_natsclient import connect

from .stan_ground import Broker, until


class Raw:
    """A client that sends what it is told to."""

    def __init__(self, nats, cluster: str) -> None:
        self.nats = nats
        self.cluster = cluster
        self.prefixes = proto.ConnectResponse()

    async def ask(self, subject: str, message, answer):
        got = await self.nats.request(subject, message.SerializeToString(), timeout=5)
        return answer.FromString(got.data)

    async def join(self, client: str, answers: bool = True, conn: bytes = b"c1"):
        inbox = self.nats.new_inbox()
        if answers:
            self.nats.subscribe(inbox, lambda message: self.nats.publish(message.reply, b""))
        wanted = proto.ConnectRequest(clientID=client, heartbeatInbox=inbox, protocol=1, connID=conn)
        got = await self.ask(f"_STAN.discover.{self.cluster}", wanted, proto.ConnectResponse)
        if not got.error:
            self.prefixes = got
        return got

    async def publish(self, client: str, subject: str, data: bytes, conn: bytes = b"c1"):
        message = proto.PubMsg(clientID=client, guid="g", subject=subject, data=data, connID=conn)
        return await self.ask(f"{self.prefixes.pubPrefix}.{subject}", message, proto.PubAck)

    async def subscribe(self, client: str, subject: str, **more):
        came: list = []
        inbox = self.nats.new_inbox()
        self.nats.subscribe(inbox, lambda message: came.append(proto.MsgProto.FromString(message.data)))
        fields = {"maxInFlight": 100, "ackWaitInSecs": 30, "startPosition": 4} | more
        wanted = proto.SubscriptionRequest(clientID=client, subject=subject, inbox=inbox, **fields)
        got = await self.ask(self.prefixes.subRequests, wanted, proto.SubscriptionResponse)
        return came, got

    def ack(self, inbox: str, subject: str, sequence: int) -> None:
        self.nats.publish(inbox, proto.Ack(subject=subject, sequence=sequence).SerializeToString())

    async def leave_sub(self, client: str, subject: str, inbox: str, *, forget: bool):
        wanted = proto.UnsubscribeRequest(clientID=client, subject=subject, inbox=inbox)
        where = self.prefixes.unsubRequests if forget else self.prefixes.subCloseRequests
        return await self.ask(where, wanted, proto.SubscriptionResponse)


@asynccontextmanager
async def raw(broker: Broker):
    async with connect([broker.url], name="raw", reconnect_wait=0.05) as nats:
        yield Raw(nats, broker.cluster)


GROUP = {"qGroup": "g", "durableName": "d"}


async def test_it_refuses_as_the_real_one_does(shared_broker):
    """Names, connection ids, subscriptions: each error by its words."""
    async with raw(shared_broker) as client:
        for odd in ("", "a.b", "a b"):
            assert (await client.join(odd)).error == "stan: invalid connection request"
        assert not (await client.join("raw-1")).error
        assert (await client.join("raw-1", conn=b"c2")).error == "stan: clientID already registered"
        assert (
            await client.publish("raw-1", "raw.a", b"x", conn=b"other")
        ).error == "stan: invalid publish request"
        assert (await client.publish("nobody", "raw.a", b"x")).error == "stan: invalid publish request"
        ack = await client.publish("raw-1", "raw.a", b"x")
        assert (ack.guid, ack.error) == ("g", "")
        for wrong, said in (
            ({"maxInFlight": 0}, "invalid MaxInflight"), ({"ackWaitInSecs": 0}, "invalid ack wait"),
            ({"qGroup": "a:b"}, "invalid subscription"),
        ):  # fmt: skip
            assert said in (await client.subscribe("raw-1", "raw.a", **wrong))[1].error
        assert "invalid subscription" in (await client.subscribe("raw-1", "raw.*"))[1].error
        assert "unknown clientID" in (await client.subscribe("nobody", "raw.a"))[1].error


async def test_a_client_that_is_dead_is_replaced(shared_broker):
    """Its heartbeat inbox does not answer; its pings are answered with an error from then on."""
    async with raw(shared_broker) as client:
        await client.join("raw-2", answers=False)
        ping = proto.Ping(connID=b"c1")
        assert not (await client.ask(client.prefixes.pingRequests, ping, proto.PingResponse)).error
        assert not (await client.join("raw-2", conn=b"c9")).error
        ping = proto.Ping(connID=b"c-none")
        answer = await client.ask(client.prefixes.pingRequests, ping, proto.PingResponse)
        assert answer.error == "client has been replaced or is no longer registered"


async def test_what_is_confirmed_survives_kill(broker):
    """Messages, acks, durable groups, clients and subscriptions: the next life goes on where this one was killed."""
    async with raw(broker) as client:
        await client.join("raw-3")
        came, answer = await client.subscribe("raw-3", "kept", **GROUP)
        for number in range(20):
            await client.publish("raw-3", "kept", b"%d" % number)
        await until(lambda: len(came) == 20)
        for sequence in range(1, 11):
            client.ack(answer.ackInbox, "kept", sequence)
        await client.publish("raw-3", "kept", b"after the acks")
        broker.stan.restart()
        await until(lambda: len(came) >= 32)
        again = came[21:]
        assert [one.sequence for one in again] == list(range(11, 22))
        assert all(one.redelivered for one in again[:10])
        assert not (await client.publish("raw-3", "kept", b"still known")).error


@pytest.mark.parametrize("forget", [False, True])
async def test_a_durable_group_stays_until_it_is_unsubscribed(shared_broker, forget):
    """Closed: the next member goes on; unsubscribed: it begins anew."""
    name = f"raw-4-{forget}"
    async with raw(shared_broker) as client:
        await client.join(name)
        came, answer = await client.subscribe(name, name, **GROUP)
        for _ in range(4):
            await client.publish(name, name, b"x")
        await until(lambda: len(came) == 4)
        for sequence in (1, 2):
            client.ack(answer.ackInbox, name, sequence)
        await client.nats.flush(2)
        assert not (await client.leave_sub(name, name, answer.ackInbox, forget=forget)).error
        assert (await client.leave_sub(name, name, answer.ackInbox, forget=forget)).error
        again, _ = await client.subscribe(name, name, **GROUP)
        await until(lambda: len(again) == (4 if forget else 2))
        assert [one.redelivered for one in again] == ([False] * 4 if forget else [True] * 2)


async def test_a_plain_subscription_has_everything_each_time(shared_broker):
    """From the first message, or only what is new."""
    async with raw(shared_broker) as client:
        await client.join("raw-5")
        for _ in range(3):
            await client.publish("raw-5", "plain", b"x")
        one, _ = await client.subscribe("raw-5", "plain")
        two, _ = await client.subscribe("raw-5", "plain", startPosition=0)
        await client.publish("raw-5", "plain", b"new")
        await until(lambda: len(one) == 4 and len(two) == 1)
        assert two[0].data == b"new"


async def test_a_member_that_leaves_gives_what_it_held_to_the_others(shared_broker):
    """At once, with the count."""
    async with raw(shared_broker) as client:
        await client.join("raw-6")
        one, first = await client.subscribe("raw-6", "moved", maxInFlight=2, **GROUP)
        for _ in range(2):
            await client.publish("raw-6", "moved", b"x")
        await until(lambda: len(one) == 2)
        two, _ = await client.subscribe("raw-6", "moved", **GROUP)
        await client.leave_sub("raw-6", "moved", first.ackInbox, forget=False)
        await until(lambda: len(two) == 2)
        assert [(each.sequence, each.redeliveryCount) for each in two] == [(1, 1), (2, 1)]


async def test_limits_drop_the_oldest_without_a_word(make_broker):
    """Every one was confirmed; those that were not acknowledged are gone all the same."""
    broker = make_broker("--max-msgs", "3", "--max-bytes", "1000")
    async with raw(broker) as client:
        await client.join("raw-7")
        for number in range(8):
            assert not (await client.publish("raw-7", "small", b"%d" % number)).error
        came, _ = await client.subscribe("raw-7", "small")
        await until(lambda: len(came) == 3)
        assert [one.sequence for one in came] == [6, 7, 8]
        for _ in range(3):
            await client.publish("raw-7", "bytes", b"x" * 400)
        came, _ = await client.subscribe("raw-7", "bytes")
        await until(lambda: len(came) == 2)


async def test_a_torn_end_of_its_store_is_cut(broker):
    """Half a record, as kill -9 in the middle of a write leaves it."""
    async with raw(broker) as client:
        await client.join("raw-8")
        await client.publish("raw-8", "torn", b"whole")
        broker.stan.kill()
        with (broker.directory / "stan.log").open("ab") as store:
            store.write(b"\x00\x00\x00\x10\x00half")
        broker.stan.start()
        assert not (await client.publish("raw-8", "torn", b"next")).error
        came, _ = await client.subscribe("raw-8", "torn")
        await until(lambda: len(came) == 2)
        assert [one.data for one in came] == [b"whole", b"next"]
