"""A NATS Streaming server as a program of its own, faithful enough to be killed: no package ships the real one.

    python stan_server.py --nats nats://127.0.0.1:4222 --store FILE [--cluster faas-cluster] [limits and timers]

It speaks protobuf over a real nats-server, keeps everything in a log that survives kill -9, and behaves as server
0.25 does where a client can tell: client ids that are taken while their heartbeat inbox answers, connection ids, pings,
heartbeats, PubAcks after storing, durable queue groups, max in flight, ack wait, redelivery with its count, orphans of a
member that left, channel limits that drop the oldest without a word. It prints `ready` when it listens.
"""

from __future__ import annotations

import argparse
import itertools
import os
import secrets
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from struct import Struct
from typing import Any

import msgspec
import trio

from faasd_py_nats_streaming import proto
from faasd_py_natsclient import Client, Message, NatsError, client_context, connect

HEAD = Struct(">BI")
MSG, ACKS, SENT, EVENT = range(4)
NUMBERS = Struct(">QQ")
ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")


@dataclass(slots=True)
class Sub:
    """One member of a group, which may be its only one."""

    client: str
    inbox: str
    ack_inbox: str
    max_in_flight: int
    ack_wait: float
    group: Group
    pending: dict[int, float] = field(default_factory=dict)
    """Sequence to the time of its redelivery, earliest first."""


@dataclass(slots=True)
class Group:
    """Who shares one place in a channel."""

    number: int
    name: str
    channel: Channel
    durable: bool
    last_sent: int = 0
    members: list[Sub] = field(default_factory=list)
    orphans: dict[int, None] = field(default_factory=dict)
    """Sent, not acknowledged, and nobody's."""
    counts: dict[int, int] = field(default_factory=dict)
    marked: int = 0
    """`last_sent` on record."""
    acked: list[int] = field(default_factory=list)
    """Not on record yet."""


@dataclass(slots=True)
class Channel:
    """Messages by sequence: timestamp and PubMsg."""

    name: str
    messages: dict[int, tuple[int, Any]] = field(default_factory=dict)
    first: int = 1
    last: int = 0
    bytes: int = 0
    groups: dict[str, Group] = field(default_factory=dict)


@dataclass(slots=True)
class Known:
    """A client as it registered."""

    id: str
    conn_id: bytes
    inbox: str
    failed: int = 0
    beat_at: float = 0.0


class Log:
    """Records in a file: one write a batch."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle = -1
        self.waiting: list[bytes] = []

    def read(self) -> Iterator[tuple[int, bytes]]:
        data = self.path.read_bytes() if self.path.exists() else b""
        at = 0
        while at + HEAD.size <= len(data):
            kind, size = HEAD.unpack_from(data, at)
            if at + HEAD.size + size > len(data):
                break
            yield kind, data[at + HEAD.size : at + HEAD.size + size]
            at += HEAD.size + size
        self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(self.handle, at)
        os.lseek(self.handle, at, os.SEEK_SET)

    def add(self, kind: int, data: bytes) -> None:
        self.waiting.append(HEAD.pack(kind, len(data)) + data)

    def event(self, *words: Any) -> None:
        self.add(EVENT, msgspec.msgpack.encode(words))
        self.write()

    def write(self) -> None:
        data = memoryview(b"".join(self.waiting))
        self.waiting.clear()
        while data:
            data = data[os.write(self.handle, data) :]


class Server:
    """All of it."""

    def __init__(self, nats: Client, options: argparse.Namespace) -> None:
        self.nats = nats
        self.options = options
        self.log = Log(Path(options.store))
        self.clients: dict[str, Known] = {}
        self.channels: dict[str, Channel] = {}
        self.groups: dict[int, Group] = {}
        self.subs: dict[str, Sub] = {}
        self.root = ""
        self.incoming: deque[tuple[Message, Any]] = deque()
        self.acking: set[int] = set()
        self.wake = trio.Event()
        self.numbers = itertools.count(1)

    # recovery

    def recover(self) -> None:
        for kind, data in self.log.read():
            if kind == MSG:
                sequence, timestamp = NUMBERS.unpack_from(data)
                self._keep(proto.PubMsg.FromString(data[NUMBERS.size :]), sequence, timestamp)
            elif kind == ACKS:
                number, *sequences = msgspec.msgpack.decode(data)
                for sequence in sequences if number in self.groups else ():
                    self.groups[number].orphans.pop(sequence, None)
            elif kind == SENT:
                number, last = NUMBERS.unpack(data)
                if number in self.groups:
                    self._sent_up_to(self.groups[number], last)
            else:
                self._replay(*msgspec.msgpack.decode(data))
        if not self.root:
            self.root = secrets.token_hex(8)
            self.log.event("root", self.root)
        self.numbers = itertools.count(max(self.groups, default=0) + 1)

    @staticmethod
    def _sent_up_to(group: Group, last: int) -> None:
        for sequence in range(group.last_sent + 1, last + 1):
            if sequence in group.channel.messages:
                group.orphans[sequence] = None
        group.last_sent = group.marked = last

    def _replay(self, what: str, *facts: Any) -> None:
        if what == "root":
            self.root = facts[0]
        elif what == "client":
            self.clients[facts[0]] = Known(*facts)
        elif what == "closed":
            self.clients.pop(facts[0], None)
        elif what == "group":
            number, name, channel, durable, last = facts
            self._group(number, name, self._channel(channel), durable, last)
        elif what == "sub":
            client, inbox, ack_inbox, most, wait, number = facts
            group = self.groups[number]
            sub = Sub(client, inbox, ack_inbox, most, wait, group)
            group.members.append(sub)
            self.subs[ack_inbox] = sub
        elif what == "unsub":
            sub = self.subs.pop(facts[0], None)
            if sub is not None:
                sub.group.members.remove(sub)
        elif what == "forgotten":
            self._forget_group(self.groups[facts[0]])

    # storage

    def _channel(self, name: str) -> Channel:
        channel = self.channels.get(name)
        if channel is None:
            channel = self.channels[name] = Channel(name)
        return channel

    def _group(self, number: int, name: str, channel: Channel, durable: bool, last: int) -> Group:
        group = Group(number, name, channel, durable, last, marked=last)
        channel.groups[name] = self.groups[number] = group
        return group

    def _forget_group(self, group: Group) -> None:
        del self.groups[group.number]
        del group.channel.groups[group.name]

    def _keep(self, message: Any, sequence: int, timestamp: int) -> Channel:
        channel = self._channel(message.subject)
        channel.messages[sequence] = (timestamp, message)
        channel.last = sequence
        channel.bytes += len(message.data)
        most, most_bytes = self.options.max_msgs, self.options.max_bytes
        while channel.first < channel.last and (
            (most and len(channel.messages) > most) or (most_bytes and channel.bytes > most_bytes)
        ):
            dropped = channel.messages.pop(channel.first, None)
            channel.first += 1
            if dropped is not None:
                channel.bytes -= len(dropped[1].data)
        return channel

    # the wire

    async def serve(self) -> None:
        self.recover()
        async with trio.open_nursery() as nursery:
            self.nursery = nursery
            self._listen()
            await self.nats.wait_connected()
            await self.nats.flush(5)
            for group in list(self.groups.values()):
                self._adopt(group)
                self._deliver(group)
            print("ready", flush=True)
            nursery.start_soon(self._commit)
            nursery.start_soon(self._redeliver)
            nursery.start_soon(self._beat)

    def _listen(self) -> None:
        nats, root = self.nats, self.root
        nats.subscribe(f"_STAN.pub.{root}.>", self.on_publish)
        nats.subscribe(f"_STAN.ack.{root}.>", self.on_ack)
        for name, handle in (
            ("sub", self.subscribe), ("unsub", self.unsubscribe), ("subclose", self.close_sub),
            ("close", self.close_client), ("ping", self.ping),
        ):  # fmt: skip
            nats.subscribe(f"_STAN.{name}.{root}", self._later(handle))
        nats.subscribe(f"_STAN.discover.{self.options.cluster}", self._later(self.connect))

    def _later(self, handle: Any) -> Any:
        def deliver(message: Message) -> None:
            self.nursery.start_soon(self._guarded, handle, message)

        return deliver

    async def _guarded(self, handle: Any, message: Message) -> None:
        try:
            await handle(message)
        except NatsError as error:
            print(f"lost: {error}", file=sys.stderr, flush=True)

    def on_publish(self, message: Message) -> None:
        self.incoming.append((message, proto.PubMsg.FromString(message.data)))
        self.wake.set()

    def on_ack(self, message: Message) -> None:
        sub = self.subs.get(message.subject)
        if sub is None:
            return
        group, sequence = sub.group, proto.Ack.FromString(message.data).sequence
        for member in (sub, *group.members):
            if member.pending.pop(sequence, None) is not None:
                break
        group.orphans.pop(sequence, None)
        group.counts.pop(sequence, None)
        group.acked.append(sequence)
        self.acking.add(group.number)
        self.wake.set()

    async def _commit(self) -> None:
        """Store what came, then confirm it, then hand it out."""
        while True:
            await self.wake.wait()
            self.wake = trio.Event()
            batch, self.incoming = self.incoming, deque()
            touched: dict[str, Channel] = {}
            answers = []
            for message, published in batch:
                error = self._fault(published)
                if not error:
                    self._store(message, published, touched)
                answers.append((message.reply, published.guid, error))
            groups = [self.groups[number] for number in self.acking if number in self.groups]
            self.acking.clear()
            for group in groups:
                self.log.add(ACKS, msgspec.msgpack.encode([group.number, *group.acked]))
                group.acked.clear()
            self.log.write()
            for reply, guid, error in answers:
                if reply and not self.options.mute_acks:
                    self.nats.publish(reply, proto.PubAck(guid=guid, error=error).SerializeToString())
            for channel in touched.values():
                groups += channel.groups.values()
            for group in {group.number: group for group in groups}.values():
                self._deliver(group)
            self.log.write()

    def _store(self, message: Message, published: Any, touched: dict[str, Channel]) -> None:
        channel = self._channel(published.subject)
        sequence, timestamp = channel.last + 1, time.time_ns()
        self.log.add(MSG, NUMBERS.pack(sequence, timestamp) + message.data)
        touched[channel.name] = self._keep(published, sequence, timestamp)

    def _fault(self, published: Any) -> str:
        client = self.clients.get(published.clientID)
        if client is None or client.conn_id != published.connID or not good_subject(published.subject):
            return "stan: invalid publish request"
        if published.subject not in self.channels and len(self.channels) >= self.options.max_channels > 0:
            return "too many channels"
        return ""

    # delivery

    def _deliver(self, group: Group) -> None:
        channel = group.channel
        while group.last_sent < channel.last:
            sequence = group.last_sent + 1
            if sequence < channel.first:
                group.last_sent = channel.first - 1
                continue
            member = min(
                (one for one in group.members if len(one.pending) < one.max_in_flight),
                key=lambda one: len(one.pending),
                default=None,
            )
            if member is None:
                break
            group.last_sent = sequence
            self._send(member, sequence)
        if group.marked != group.last_sent:
            group.marked = group.last_sent
            self.log.add(SENT, NUMBERS.pack(group.number, group.last_sent))

    def _send(self, member: Sub, sequence: int, count: int = 0) -> None:
        found = member.group.channel.messages.get(sequence)
        if found is None:
            return
        timestamp, published = found
        message = proto.MsgProto(
            sequence=sequence, subject=published.subject, data=published.data, timestamp=timestamp,
            redelivered=count > 0, redeliveryCount=count,
        )  # fmt: skip
        member.pending[sequence] = time.monotonic() + member.ack_wait
        self.nats.publish(member.inbox, message.SerializeToString())

    def _again(self, group: Group, sequence: int) -> None:
        count = group.counts[sequence] = group.counts.get(sequence, 0) + 1
        member = min(group.members, key=lambda one: len(one.pending))
        self._send(member, sequence, count)

    def _adopt(self, group: Group) -> None:
        """Orphans go to a member, in their order."""
        if group.members:
            orphans, group.orphans = sorted(group.orphans), {}
            for sequence in orphans:
                self._again(group, sequence)

    async def _redeliver(self) -> None:
        while True:
            await trio.sleep(0.05)
            now = time.monotonic()
            for sub in list(self.subs.values()):
                for sequence in [sequence for sequence, at in sub.pending.items() if at <= now]:
                    del sub.pending[sequence]
                    self._again(sub.group, sequence)

    # requests

    async def connect(self, message: Message) -> None:
        wanted = proto.ConnectRequest.FromString(message.data)
        if not wanted.clientID or set(wanted.clientID) - ALLOWED or not wanted.heartbeatInbox:
            self._answer(message, proto.ConnectResponse(error="stan: invalid connection request"))
            return
        old = self.clients.get(wanted.clientID)
        if old is not None:
            if await self._lives(old, self.options.dup_timeout):
                self._answer(message, proto.ConnectResponse(error="stan: clientID already registered"))
                return
            self._drop_client(wanted.clientID)
        self.clients[wanted.clientID] = Known(wanted.clientID, wanted.connID, wanted.heartbeatInbox)
        self.log.event("client", wanted.clientID, wanted.connID, wanted.heartbeatInbox)
        root = self.root
        self._answer(
            message,
            proto.ConnectResponse(
                pubPrefix=f"_STAN.pub.{root}", subRequests=f"_STAN.sub.{root}",
                unsubRequests=f"_STAN.unsub.{root}", closeRequests=f"_STAN.close.{root}",
                subCloseRequests=f"_STAN.subclose.{root}", pingRequests=f"_STAN.ping.{root}",
                pingInterval=wanted.pingInterval, pingMaxOut=wanted.pingMaxOut, protocol=1,
            ),
        )  # fmt: skip

    async def _lives(self, client: Known, within: float) -> bool:
        try:
            answer = await self.nats.request(client.inbox, b"", timeout=within)
        except NatsError:
            return False
        return answer.status is None

    def _answer(self, message: Message, answer: Any) -> None:
        if message.reply:
            self.nats.publish(message.reply, answer.SerializeToString())

    def _drop_client(self, identity: str) -> None:
        for sub in [sub for sub in self.subs.values() if sub.client == identity]:
            self._leave(sub, forget=False)
        if self.clients.pop(identity, None) is not None:
            self.log.event("closed", identity)

    async def close_client(self, message: Message) -> None:
        wanted = proto.CloseRequest.FromString(message.data)
        known = wanted.clientID in self.clients
        self._drop_client(wanted.clientID)
        self._answer(message, proto.CloseResponse(error="" if known else "stan: unknown clientID"))

    async def ping(self, message: Message) -> None:
        conn_id = proto.Ping.FromString(message.data).connID
        known = any(client.conn_id == conn_id for client in self.clients.values())
        error = "" if known else "client has been replaced or is no longer registered"
        self._answer(message, proto.PingResponse(error=error))

    async def subscribe(self, message: Message) -> None:
        wanted = proto.SubscriptionRequest.FromString(message.data)
        error = self._sub_fault(wanted)
        if error:
            self._answer(message, proto.SubscriptionResponse(error=error))
            return
        channel = self._channel(wanted.subject)
        name = (
            f"{wanted.durableName}:{wanted.qGroup}" if wanted.qGroup or wanted.durableName else wanted.inbox
        )
        group = channel.groups.get(name)
        if group is None:
            last = channel.first - 1 if wanted.startPosition == 4 else channel.last
            group = self._group(next(self.numbers), name, channel, bool(wanted.durableName), last)
            self.log.event("group", group.number, name, channel.name, group.durable, last)
        ack_inbox = f"_STAN.ack.{self.root}.{secrets.token_hex(8)}"
        sub = Sub(
            wanted.clientID, wanted.inbox, ack_inbox, wanted.maxInFlight, float(wanted.ackWaitInSecs), group
        )
        group.members.append(sub)
        self.subs[ack_inbox] = sub
        self.log.event("sub", sub.client, sub.inbox, ack_inbox, sub.max_in_flight, sub.ack_wait, group.number)
        self._answer(message, proto.SubscriptionResponse(ackInbox=ack_inbox))
        self._adopt(group)
        self._deliver(group)
        self.log.write()

    def _sub_fault(self, wanted: Any) -> str:
        if wanted.clientID not in self.clients:
            return "stan: unknown clientID"
        if not good_subject(wanted.subject) or ":" in wanted.durableName or ":" in wanted.qGroup:
            return "stan: invalid subscription"
        if wanted.ackWaitInSecs < 1:
            return "stan: invalid ack wait time, should be >= 1s"
        if wanted.maxInFlight < 1:
            return "stan: invalid MaxInflight, should be >= 1"
        if wanted.subject not in self.channels and len(self.channels) >= self.options.max_channels > 0:
            return "too many channels"
        return ""

    async def close_sub(self, message: Message) -> None:
        await self._end_sub(message, forget=False)

    async def unsubscribe(self, message: Message) -> None:
        await self._end_sub(message, forget=True)

    async def _end_sub(self, message: Message, *, forget: bool) -> None:
        wanted = proto.UnsubscribeRequest.FromString(message.data)
        sub = self.subs.get(wanted.inbox)
        if sub is None or wanted.clientID != sub.client:
            self._answer(message, proto.SubscriptionResponse(error="stan: invalid subscription"))
            return
        self._leave(sub, forget=forget)
        self._answer(message, proto.SubscriptionResponse())

    def _leave(self, sub: Sub, *, forget: bool) -> None:
        group = sub.group
        del self.subs[sub.ack_inbox]
        group.members.remove(sub)
        group.orphans.update(dict.fromkeys(sub.pending))
        sub.pending.clear()
        self.log.event("unsub", sub.ack_inbox)
        if not group.members and (forget or not group.durable):
            self._forget_group(group)
            self.log.event("forgotten", group.number)
        self._adopt(group)

    async def _beat(self) -> None:
        """Who does not answer for long enough is gone."""
        options = self.options
        while True:
            await trio.sleep(min(options.hb_interval, 0.1))
            now = time.monotonic()
            for client in list(self.clients.values()):
                if client.beat_at == 0.0:
                    client.beat_at = now + options.hb_interval
                elif client.beat_at <= now:
                    client.beat_at = now + options.hb_interval
                    self.nursery.start_soon(self._beat_one, client)

    async def _beat_one(self, client: Known) -> None:
        if await self._lives(client, self.options.hb_timeout):
            client.failed = 0
            return
        client.failed += 1
        if client.failed > self.options.hb_fails and self.clients.get(client.id) is client:
            self._drop_client(client.id)


def good_subject(subject: str) -> bool:
    """A channel's name: no wildcards, no empty tokens, no slashes."""
    tokens = subject.split(".")
    return all(tokens) and not any(char in subject for char in "*>/ \t")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--nats", required=True)
    parser.add_argument("--ca", help="PEM: with it the connection to NATS is TLS")
    parser.add_argument("--certificate", help="PEM, with its key: who we are")
    parser.add_argument("--store", required=True)
    parser.add_argument("--cluster", default="faas-cluster")
    parser.add_argument("--hb-interval", type=float, default=30)
    parser.add_argument("--hb-timeout", type=float, default=10)
    parser.add_argument("--hb-fails", type=int, default=10)
    parser.add_argument("--dup-timeout", type=float, default=0.5)
    parser.add_argument("--max-msgs", type=int, default=1_000_000)
    parser.add_argument("--max-bytes", type=int, default=1_024_000_000)
    parser.add_argument("--max-channels", type=int, default=100)
    parser.add_argument("--mute-acks", action="store_true", help="store, and never confirm")
    return parser.parse_args()


async def main() -> None:
    options = arguments()
    tls = client_context(options.ca, options.certificate, None)
    async with connect(
        [options.nats], name="stan-server", tls=tls, reconnect_wait=0.1, max_pending=1 << 30, wait_first=True
    ) as nats:
        await Server(nats, options).serve()


if __name__ == "__main__":
    trio.run(main)
