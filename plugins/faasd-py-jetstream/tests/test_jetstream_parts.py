"""The parts by themselves, with a client that only writes down what it is told."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from faasd_py.api import QueueBroken, QueueUnavailable
from faasd_py_jetstream import rows
from faasd_py_jetstream.api import ApiError
from faasd_py_jetstream.context import prepare
from faasd_py_jetstream.entry import Entry, Past, Phase
from faasd_py_jetstream.figures import Figures
from faasd_py_jetstream.journal import JournalKeeper
from faasd_py_jetstream.lane import HOLD, STALE, Lane
from faasd_py_jetstream.names import Names
from faasd_py_jetstream.outbox import Outbox, Pair
from faasd_py_jetstream.publisher import Promise, PubAck, Publisher
from faasd_py_jetstream.putting import publication
from faasd_py_jetstream.settings import Options
from faasd_py_jetstream.source import EXPIRES, Source
from faasd_py_natsclient import BufferFull, Message, PayloadTooLarge


class Client:
    """Connected unless told otherwise; `sent` is what was published."""

    def __init__(self):
        self.sent = []
        self.subscriptions = {}
        self.connected = True
        self.on_reconnected = []
        self.refuses = None
        self.max_payload = 1 << 20
        self._inboxes = itertools.count()

    def new_inbox(self):
        return f"_INBOX.{next(self._inboxes)}"

    def subscribe(self, subject, deliver):
        self.subscriptions[subject] = deliver
        return SimpleNamespace(unsubscribe=lambda: self.subscriptions.pop(subject))

    def publish(self, subject, data, *, reply="", headers=None):
        if self.refuses is not None:
            raise self.refuses
        self.sent.append((subject, data, reply, headers))

    async def wait_connected(self):
        await trio.lowlevel.checkpoint()

    def answer(self, number, data=b'{"stream":"S","seq":7}', **fields):
        """The confirmation of the publish of this number."""
        reply = self.sent[number][2]
        deliver = next(one for subject, one in self.subscriptions.items() if reply.startswith(subject[:-1]))
        deliver(Message(reply, 1, "", data, **fields))


@pytest.fixture
def client():
    return Client()


def ground(client, **more):
    found = {
        "client": client,
        "publisher": Publisher(client),
        "names": Names("faasd", "ns"),
        "options": Options(),
        "settings": SimpleNamespace(failure_retention=3600, result_retention=60),
        "clock": lambda: 1000.0,
        "created": "then",
    }
    return SimpleNamespace(**found | more)


# publisher


async def test_a_publish_is_confirmed(client):
    """The answer's sequence; nothing is pending afterwards."""
    publisher, promise = Publisher(client), Promise()
    publisher.send("a.b", b"x", {"H": "1"}, promise.keep)
    assert client.sent[0][:2] == ("a.b", b"x")
    assert client.sent[0][3] == {"H": "1"}
    client.answer(0)
    assert await promise.wait() == PubAck("S", 7)
    assert not publisher.pending


async def test_an_answer_that_comes_twice_counts_once(client):
    """As after a publish that was tried again."""
    publisher, answers = Publisher(client), []
    publisher.send("a", b"", None, answers.append)
    client.answer(0)
    client.answer(0)
    assert len(answers) == 1


async def test_a_publish_without_answer_is_tried_again(client, autojump_clock: MockClock):
    """The same message under the same token, until it is confirmed."""
    publisher, answers = Publisher(client), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        publisher.send("a", b"x", None, answers.append)
        await trio.sleep(5)
        assert len(client.sent) >= 3
        assert len(set(client.sent[0][2:3]) | {sent[2] for sent in client.sent}) == 1
        client.answer(-1)
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert answers == [PubAck("S", 7)]


async def test_a_publish_is_given_up_in_time(client, autojump_clock: MockClock):
    """QueueUnavailable with the reason, and it is not tried any more."""
    publisher = Publisher(client)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        with pytest.raises(QueueUnavailable, match="did not confirm in time"):
            await publisher.publish("a", b"", within=3)
        count = len(client.sent)
        await trio.sleep(10)
        assert len(client.sent) == count
        client.connected = False
        with pytest.raises(QueueUnavailable, match="no connection"):
            await publisher.publish("a", b"", within=3)
        assert len(client.sent) == count
        nursery.cancel_scope.cancel()


async def test_a_publish_without_connection_goes_out_on_the_next(client):
    """At once when it stands."""
    publisher, answers = Publisher(client), []
    client.connected = False
    publisher.send("a", b"", None, answers.append)
    assert not client.sent
    client.connected = True
    client.on_reconnected[0]()
    client.answer(0)
    assert answers == [PubAck("S", 7)]


async def test_a_publish_that_must_not_be_repeated_is_given_up_with_its_connection(client):
    """The others of its batch are gone."""
    publisher, answers = Publisher(client), []
    publisher.send("a", b"", None, answers.append, once=True)
    client.on_reconnected[0]()
    assert len(client.sent) == 1
    assert isinstance(answers[0], QueueUnavailable)


async def test_refusals(client, autojump_clock: MockClock):
    """Told to one who asks; tried again for one who must; transient ones are tried again for all."""
    publisher, answers = Publisher(client), []
    wrong = b'{"error":{"code":400,"err_code":10071,"description":"wrong last sequence"}}'
    later = b'{"error":{"code":503,"err_code":10008,"description":"temporarily unavailable"}}'
    publisher.send("asks", b"", None, answers.append, stubborn=False)
    client.answer(0, wrong)
    assert isinstance(answers[0], ApiError)
    assert answers[0].fault.err_code == 10071
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        for number, (stubborn, refusal) in enumerate(((True, wrong), (False, later)), 1):
            publisher.send("must", b"", None, answers.append, stubborn=stubborn)
            at = len(client.sent) - 1
            client.answer(at, refusal)
            assert "JetStream takes no messages" in publisher.trouble
            await trio.sleep(1.5)
            assert len(client.sent) > at + 1
            client.answer(-1)
            assert len(answers) == number + 1
        nursery.cancel_scope.cancel()
    assert publisher.trouble is None


async def test_no_stream_listens(client, autojump_clock: MockClock):
    """Status 503: soon again, and said."""
    publisher, answers = Publisher(client), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        publisher.send("a", b"", None, answers.append)
        client.answer(0, b"", status=503)
        assert publisher.trouble == "no JetStream stream takes messages now"
        await trio.sleep(0.5)
        client.answer(-1, b"nonsense")
        await trio.sleep(0.5)
        client.answer(-1)
        nursery.cancel_scope.cancel()
    assert answers == [PubAck("S", 7)]


async def test_a_full_buffer_and_a_message_too_large(client, autojump_clock: MockClock):
    """The one is tried again, the other is not."""
    publisher, answers = Publisher(client), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(publisher.run)
        client.refuses = BufferFull("full")
        publisher.send("a", b"", None, answers.append)
        client.refuses = None
        await trio.sleep(0.5)
        client.answer(0)
        client.refuses = PayloadTooLarge("2 MB")
        publisher.send("a", b"", None, answers.append)
        nursery.cancel_scope.cancel()
    assert answers[0] == PubAck("S", 7)
    assert "takes no message of this size" in str(answers[1])


async def test_a_promise_that_nobody_waits_for(client):
    """Cancelled, it may be kept all the same."""
    promise = Promise()
    with trio.move_on_after(0):
        await promise.wait()
    promise.keep(PubAck("S", 1))
    assert (await promise.wait()).seq == 1


async def test_the_end_tells_everybody(client):
    """Nobody waits for ever."""
    publisher, answers = Publisher(client), []
    for _ in range(3):
        publisher.send("a", b"", None, answers.append)
    publisher.fail_all()
    assert [str(answer) for answer in answers] == ["the queue is closing"] * 3


# journal


async def test_starts_share_a_write(client):
    """The first goes at once; all that come meanwhile are one message."""
    keeper = JournalKeeper(ground(client), "node")
    async with trio.open_nursery() as nursery:
        for seq in range(1, 6):
            nursery.start_soon(keeper.start, SimpleNamespace(seq=seq, attempts=1))
            await wait_all_tasks_blocked()
        assert len(client.sent) == 1
        assert rows.decode_journal(client.sent[0][1]) == rows.Journal("then", {1: 1})
        client.answer(0)
        assert rows.decode_journal(client.sent[1][1]).running == dict.fromkeys(range(1, 6), 1)
        client.answer(1)
    keeper.ended(SimpleNamespace(seq=1))
    keeper.ended(SimpleNamespace(seq=99))
    assert client.sent[0][0] == "$KV.faasd-ns-state.running.node"
    assert client.sent[0][3] == {"Nats-TTL": "3600s"}


async def test_a_start_that_cannot_be_recorded(client):
    """Everybody who waited for that write is told; the next write is a new try."""
    keeper, failed = JournalKeeper(ground(client), "node"), []

    async def start(seq):
        try:
            await keeper.start(SimpleNamespace(seq=seq, attempts=1))
        except QueueUnavailable:
            failed.append(seq)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start, 1)
        await wait_all_tasks_blocked()
        nursery.start_soon(start, 2)
        await wait_all_tasks_blocked()
        client.answer(0, b'{"error":{"code":400,"err_code":10077,"description":"maximum"}}')
        client.answer(1)
    assert failed == [1]


# outbox


def pair(g, done, number=1):
    call = rows.Call(lane="callback:a", body=b"x")
    return Pair(publication(g, f"id{number}", call), f"faasd.ns.ended.id{number}.1", b"row", done)


async def test_callback_and_note_are_one_batch(client):
    """Numbered, the last one commits, the note must be new."""
    g = ground(client)
    done = []
    async with trio.open_nursery() as nursery:
        box = Outbox(g, nursery)
        box.add(pair(g, lambda: done.append(1)))
        first, last = client.sent
        assert first[2] == ""
        assert first[3]["Nats-Batch-Sequence"] == "1"
        assert "Nats-Msg-Id" not in first[3]
        assert last[0] == "faasd.ns.ended.id1.1"
        assert last[3]["Nats-Batch-Commit"] == "1"
        assert last[3]["Nats-Expected-Last-Subject-Sequence"] == "0"
        assert first[3]["Nats-Batch-Id"] == last[3]["Nats-Batch-Id"]
        client.answer(1)
    assert done == [1]


async def test_what_comes_meanwhile_is_the_next_batch(client):
    """One at a time; all of them in the end."""
    g, done = ground(client), []
    async with trio.open_nursery() as nursery:
        box = Outbox(g, nursery)
        for number in range(5):
            box.add(pair(g, lambda number=number: done.append(number), number))
        assert len(client.sent) == 2
        client.answer(1)
        assert len(client.sent) == 2 + 8
        client.answer(9)
    assert done == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("written", [True, False])
async def test_a_batch_whose_confirmation_is_lost(client, autojump_clock: MockClock, written):
    """It is looked for, and written again only if it is not there."""

    async def last(*_):
        return SimpleNamespace() if written else None

    g, done = ground(client, api=SimpleNamespace(last=last)), []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(g.publisher.run)
        box = Outbox(g, nursery)
        box.add(pair(g, lambda: done.append(1)))
        await trio.sleep(5)
        assert len(client.sent) >= (2 if written else 4)
        if not written:
            assert done == []
            client.answer(-1)
        nursery.cancel_scope.cancel()
    assert done == [1]


# lane and source


class Listener:
    def __init__(self):
        self.told = []

    def __getattr__(self, name):
        return lambda *words: self.told.append((name, *words))


def source(client, priority="10"):
    made = Source(client, "NEXT", lane="a", priority=priority, consumer=f"a_{priority}", listener=Listener())
    made.ready = trio.Event()
    made.ready.set()
    return made


def entry(lane, origin, number, **fields):
    return Entry(
        number << 15,
        f"id{number:03d}",
        lane,
        origin,
        rows.Call(lane="a"),
        1,
        number,
        f"reply{number}",
        1,
        0.0,
        **fields,
    )


@pytest.fixture
def lane(client):
    made = Lane("a", 64)
    made.sources["10"] = source(client)
    return made


def pulls(client):
    return [msgspec.json.decode(data)["batch"] for subject, data, _, _ in client.sent if subject == "NEXT"]


async def test_a_lane_that_nobody_serves_asks_for_one(client, lane):
    """So that it learns of calls at all."""
    lane.fill(1000.0)
    lane.fill(1000.0)
    assert pulls(client) == [1]


async def test_a_lane_that_is_served_asks_when_somebody_waits(client, lane):
    """And not before."""
    lane.served = True
    lane.fill(1000.0)
    assert pulls(client) == []
    lane.starve(1000.0)
    assert pulls(client) == [2]


async def test_the_window_grows_while_the_broker_has_more(client, lane):
    """Twice as many each time, up to twice what works here, and up to the prefetch."""
    lane.served = True
    lane.sources["10"].backlog = 1000
    for _ in range(10):
        lane.starve(1000.0)
    assert lane.window == 16
    lane.window, lane.mine = 2, 100
    client.sent.clear()
    lane.sources["10"].backlog = 1000
    for _ in range(10):
        lane.sources["10"].requested = 0
        lane.starve(1000.0)
    assert pulls(client)[:4] == [4, 8, 16, 32]
    assert lane.window == 64


async def test_calls_come_in_their_order(lane):
    """By when they were accepted, whatever the order they came in; a retry by when it is due."""
    origin = lane.sources["10"]
    for number in (3, 1, 2):
        lane.push(entry(lane, origin, number))
    lane.push(entry(lane, origin, 0, past=Past(attempts=1, due=3e-3)))
    assert [lane.pop(0.0).id for _ in range(4)] == ["id001", "id002", "id000", "id003"]
    assert lane.pop(0.0) is None


async def test_a_call_that_is_looked_into_is_waited_for(lane):
    """For a moment: what stands behind it must not overtake it, nor wait for ever."""
    origin = lane.sources["10"]
    lane.coming.append(entry(lane, origin, 1))
    lane.push(entry(lane, origin, 2))
    assert not lane.ripe(HOLD / 2)
    assert lane.ripe(HOLD * 2)
    lane.push(entry(lane, origin, 0))
    assert lane.pop(0.0).id == "id000"


async def test_a_higher_priority_that_is_on_its_way_is_waited_for(client, lane):
    """For a moment, and only if it was asked for."""
    urgent = lane.sources["05"] = source(client, "05")
    lane.push(entry(lane, lane.sources["10"], 1))
    urgent.expected, urgent.requested, urgent.asked_at = 1, 1, 0.0
    assert not lane.ripe(HOLD / 2)
    lane.push(entry(lane, urgent, 9))
    assert lane.pop(HOLD / 2).source is urgent
    assert lane.ripe(HOLD * 2)


async def test_withdrawn_calls_are_skipped(lane):
    """Wherever they stand; the heap does not keep them for ever."""
    origin = lane.sources["10"]
    entries = [entry(lane, origin, number) for number in range(200)]
    for one in entries:
        lane.push(one)
    for one in entries[:199]:
        lane.withdraw(one)
    assert (lane.count, origin.at_hand) == (1, 1)
    assert len(lane.heap) <= 66
    assert lane.pop(0.0) is entries[199]


async def test_what_nobody_takes_is_stale(client, lane):
    """After a second; then no more are asked for until somebody wants one."""
    lane.served = lane.hungry = True
    one = entry(lane, lane.sources["10"], 1)
    lane.push(one)
    assert lane.stale(STALE) == []
    assert lane.stale(STALE * 2) == [one]
    assert one.phase is Phase.OVER
    lane.fill(STALE * 2)
    assert pulls(client) == []
    lane.starve(STALE * 3)
    assert pulls(client) == [2]


async def test_the_ends_of_requests(client):
    """Filled, waited for in vain, the leader changes, the consumer is deleted, nobody listens."""
    one = source(client)
    one.pull(10)
    deliver = client.subscriptions["_INBOX.0.*"]
    deliver(Message("s", 1, "$JS.ACK.s.a_10.1.1.1.0.5", b""))
    assert (one.requested, one._listener.told[-1][0]) == (9, "came")
    deliver(Message("_INBOX.0.0", 1, "", b"", {"Nats-Pending-Messages": "9"}, 408, "Request Timeout"))
    assert (one.requested, one._listener.told[-1][0]) == (0, "ended")
    one.pull(3)
    deliver(Message("_INBOX.0.1", 1, "", b"", None, 409, "Leadership Change"))
    assert (one.requested, one._listener.told[-1][0]) == (0, "ended")
    one.pull(3)
    count = len(one._listener.told)
    deliver(Message("_INBOX.0.2", 1, "", b"", None, 503, ""))
    assert (one.requested, len(one._listener.told)) == (0, count)
    deliver(Message("_INBOX.0.2", 1, "", b"", None, 409, "Consumer Deleted"))
    assert not one.usable
    assert one._listener.told[-1][0] == "gone"
    one.pull(3)
    assert one.requested == 0
    one.close()
    assert not client.subscriptions


async def test_a_request_that_never_ends_is_overdue(client):
    """As when the consumer's leader died with it."""
    one = source(client)
    one.pull(1)
    now = trio.current_time()
    assert not one.overdue(now + EXPIRES)
    assert one.overdue(now + EXPIRES + 2)
    one.lost()
    assert not one.overdue(now + EXPIRES + 2)


def test_figures_never_go_below_zero():
    """What other daemons finish may be counted twice for a while."""

    async def main():
        figures = Figures()
        figures.add(10)
        figures.take(10)
        figures.take(10)
        assert (figures.depth, figures.bytes) == (0, 0)

    trio.run(main)


# the broker


@pytest.mark.parametrize("version", ["2.11.11", "2.9.25", "1.4.1"])
async def test_a_server_that_is_too_old_is_refused(client, version):
    """Before anything is made there, in one sentence with its version and the one that is needed."""
    client.server_info = SimpleNamespace(version=version)
    with pytest.raises(
        QueueBroken, match=rf"^nats-server {version} is too old .*: 2\.12 or newer is needed$"
    ):
        await prepare(ground(client))
    assert client.sent == []
