"""Sessions: what is repeated is done once, what a spoke holds is its own, and comes back when it is gone."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
import trio
import trio.lowlevel

from faasd_py.api import (
    Call,
    Move,
    Outcome,
    QueueFull,
    QueueSettings,
    QueueSite,
    QueueUnavailable,
    State,
    Verdict,
)
from faasd_py_nng import open_queue, wire
from faasd_py_nng.nng import open_connection

from .conftest import address_of, open_hub, spoke_site

LANE = "a.openfaas-fn"
CALL = Call(lane=LANE, body=b"hello", accepted_at=1.7e9)
DONE, RELEASE = Verdict(move=Move.DONE), Verdict(move=Move.RELEASE)


@pytest.fixture
def site():
    directory = Path(tempfile.mkdtemp(prefix="nng-"))
    yield QueueSite(settings=QueueSettings(), directory=directory, spool=directory / "spool")
    shutil.rmtree(directory)


def spoke_at(site, name: str = "spoke", **options):
    options = {"hub": address_of(site.directory), "lanes": ["*"], "reconnect_max": "500ms"} | options
    return open_queue(spoke_site(site.directory / name, site.spool, site.settings, **options))


class Raw:
    """A spoke that speaks by hand."""

    def __init__(self, line, spoke: bytes = b"", incarnation: bytes = b"") -> None:
        self.line = line
        self.spoke = spoke or os.urandom(16)
        self.incarnation = incarnation or os.urandom(16)
        self.session = b""
        self.frames = 0
        self.grants: list[wire.Grant] = []

    async def say(self, said) -> wire.Reply:
        return wire.decode_reply(await self.line.ask(wire.encode(said)))

    async def greet(self, holding=()) -> wire.Welcome:
        await self.say(wire.Hello(1, self.spoke, self.incarnation, "raw", os.urandom(16), ["*"]))
        welcome = await self.say(wire.Proof(b"", list(holding)))
        assert isinstance(welcome, wire.Welcome), welcome
        self.session = welcome.session
        return welcome

    async def do(self, *ops, number: int | None = None, **more) -> wire.Answers:
        self.frames += number is None
        told = await self.say(
            wire.Frame(self.session, self.frames if number is None else number, 0, list(ops), **more)
        )
        assert isinstance(told, wire.Answers), told
        self.grants += told.grants
        return told

    async def granted(self, count: int = 1) -> list[wire.Grant]:
        with trio.fail_after(5):
            while len(self.grants) < count:
                news = await self.say(wire.Listen(self.session))
                assert isinstance(news, wire.News), news
                self.grants += news.grants
        found, self.grants = self.grants, []
        return found


@pytest.fixture
async def raw(site):
    """On a hub, whose queue is `raw.behind`."""
    async with (
        open_hub(site, lease_timeout="1s") as behind,
        open_connection(address_of(site.directory), None, 5.0) as line,
    ):
        made = Raw(line)
        made.behind = behind
        await made.greet()
        yield made


async def test_a_put_that_is_repeated_is_put_once(raw):
    """The reply was lost: the same operation, the same receipt."""
    first = await raw.do(wire.Put(1, CALL))
    again = await raw.do(wire.Put(1, CALL))
    assert first.answers == again.answers
    assert raw.behind.stats().lanes[LANE].ready == 1


async def test_a_lease_is_started_once(raw):
    """A second start is refused, in the same frame as well as later, and the attempt counts once."""
    await raw.do(wire.Put(1, CALL), wire.Credit(2, LANE, 1))
    (grant,) = await raw.granted()
    first = await raw.do(wire.Start(3, grant.lease), wire.Start(4, grant.lease))
    later = await raw.do(wire.Start(5, grant.lease))
    done, *refused = [*first.answers, *later.answers]
    assert done == wire.Done(3)
    assert [answer.kind for answer in refused] == ["IllegalMove"] * 2
    await raw.do(wire.Settle(6, grant.lease, Move.RELEASE), wire.Credit(7, LANE, 2))
    (again,) = await raw.granted()
    assert again.attempt == 2


class Work(trio.abc.Instrument):
    """What the loop did."""

    def __init__(self) -> None:
        self.turns = self.tasks = 0

    def before_io_wait(self, timeout: float) -> None:
        self.turns += 1

    def task_spawned(self, task: object) -> None:
        self.tasks += 1


async def test_many_attempts_begin_and_end_without_tasks_and_turns_of_their_own(raw):
    """The starts of a frame are one wait, and no settlement is one: what a hub can do a second depends on it."""
    count, work = 200, Work()
    await raw.do(*(wire.Put(number, CALL) for number in range(1, count + 1)))
    await raw.do(wire.Credit(1000, LANE, count))
    leases = [grant.lease for grant in await raw.granted(count)]
    trio.lowlevel.add_instrument(work)
    await raw.do(*(wire.Start(2000 + lease, lease) for lease in leases))
    told = await raw.do(*(wire.Settle(3000 + lease, lease, Move.DONE) for lease in leases))
    trio.lowlevel.remove_instrument(work)
    assert len(told.answers) == count
    assert all(isinstance(answer, wire.Done) for answer in told.answers)
    assert work.tasks < count / 4
    assert work.turns < count / 2


async def test_a_put_is_repeated_over_a_new_connection(site, raw):
    """The session goes on with what it knew."""
    first = await raw.do(wire.Put(1, CALL))
    async with open_connection(address_of(site.directory), None, 5.0) as line:
        back = Raw(line, raw.spoke, raw.incarnation)
        assert (await back.greet()).resumed
        assert (await back.do(wire.Put(1, CALL))).answers == first.answers
    assert raw.behind.stats().lanes[LANE].ready == 1


async def test_a_put_of_a_lost_session_is_looked_for(site, raw):
    """The hub was started anew, say: what is on record with the same time and fields is not put again."""
    first = (await raw.do(wire.Put(1, CALL))).answers[0]
    async with open_connection(address_of(site.directory), None, 5.0) as line:
        other = Raw(line, raw.spoke, b"\xff" * 16)
        assert not (await other.greet()).resumed
        known, new = (
            await other.do(
                wire.Put(7, CALL, again=True),
                wire.Put(8, Call(lane=LANE, accepted_at=1.7e9 + 1e-6), again=True),
            )
        ).answers
        assert (known.id, known.call_id) == (first.id, first.call_id)
        assert new.id != first.id
    assert raw.behind.stats().lanes[LANE].ready == 2


async def test_frames_are_begun_in_their_order(raw):
    """Whatever order they come in: the settlement goes before the put that it makes room for."""
    answers = []

    async def send(number: int, op) -> None:
        answers.append((number, await raw.do(op, number=number)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, 2, wire.Credit(2, LANE, 0))
        await trio.sleep(0.05)
        assert not answers
        nursery.start_soon(send, 1, wire.Credit(1, LANE, 1))
    assert [number for number, _ in answers] in ([1, 2], [2, 1])


async def test_no_more_is_granted_than_there_is_credit(raw):
    """Until more is given, whatever waits."""
    await raw.do(*[wire.Put(number, CALL) for number in range(1, 11)])
    await raw.do(wire.Credit(20, LANE, 3))
    assert len(await raw.granted(3)) == 3
    assert raw.behind.stats().lanes[LANE].ready == 7
    await raw.do(wire.Credit(21, LANE, 4))
    assert len(await raw.granted(1)) == 1


async def at_hand(raw):
    """The next lease of the queue behind the hub, which may need a moment to bring it to hand."""
    with trio.fail_after(5):
        while True:
            await raw.behind.wait_ready(LANE)
            if (lease := raw.behind.lease_nowait(LANE)) is not None:
                return lease


async def test_a_silent_spoke_is_given_up(raw):
    """After lease_timeout its calls are READY; what it had started counts, what it had not does not."""
    await raw.do(wire.Put(1, CALL), wire.Put(2, CALL), wire.Credit(3, LANE, 2))
    started, _ = await raw.granted(2)
    await raw.do(wire.Start(4, started.lease))
    with trio.fail_after(5):
        while raw.behind.stats().lanes[LANE].ready < 2:
            await trio.sleep(0.01)
    leases = []
    for _ in range(2):
        await raw.behind.wait_ready(LANE)
        leases.append(raw.behind.lease_nowait(LANE))
    assert sorted((lease.attempt, lease.crashed) for lease in leases) == [(1, False), (2, True)]


async def test_what_did_not_arrive_is_ready_again(site, raw):
    """A spoke that comes back says what it holds: grants whose news was lost are others'."""
    await raw.do(wire.Put(1, CALL), wire.Put(2, CALL), wire.Credit(3, LANE, 2))
    held, lost = await raw.granted(2)
    async with open_connection(address_of(site.directory), None, 5.0) as line:
        back = Raw(line, raw.spoke, raw.incarnation)
        welcome = await back.greet([held.lease, 999])
        assert (welcome.resumed, welcome.lost) == (True, [999])
        assert raw.behind.stats().lanes[LANE].ready == 1
        await raw.behind.wait_ready(LANE)
        assert (await at_hand(raw)).id == lost.id
        (answer,) = (await back.do(wire.Settle(4, held.lease, Move.DONE))).answers
        assert isinstance(answer, wire.Done)


async def test_a_lease_that_is_not_held_is_told(raw):
    """In an answer, not by an end."""
    start, settle = (await raw.do(wire.Start(1, 5), wire.Settle(2, 5, Move.DONE))).answers
    assert (start.kind, settle.kind) == ("lost", "lost")


async def test_an_older_life_of_a_spoke_is_refused(site):
    """The later one has its place, and the older one says so."""
    async with open_hub(site), spoke_at(site) as first, spoke_at(site) as second:
        await second.put(CALL)
        with trio.fail_after(5):
            while "another daemon with the same state directory" not in (first.trouble() or ""):
                await trio.sleep(0.01)


async def test_calls_at_hand_go_back_when_nobody_takes_them(site):
    """So that a busy spoke does not keep from others what it does not run."""
    async with open_hub(site) as behind, spoke_at(site) as queue:
        with trio.move_on_after(0.05):
            await queue.wait_ready(LANE)
        await queue.put(CALL)
        with trio.fail_after(5):
            while behind.stats().lanes[LANE].ready != 1 or queue.lease_nowait(LANE):
                await trio.sleep(0.05)
        assert queue.stats().lanes[LANE].ready == 1


async def test_a_slow_lane_is_not_hoarded(site):
    """A spoke that takes one call and works gets no second one while another has hands free."""
    async with open_hub(site) as behind, spoke_at(site, "busy") as busy:
        for _ in range(10):
            await busy.put(CALL)
        await busy.wait_ready(LANE)
        assert busy.lease_nowait(LANE)
        await trio.sleep(0.9)
        assert behind.stats().lanes[LANE].ready == 9


async def test_a_question_sees_what_lies_at_another_spoke_as_ready(site):
    """It is called back: cancelled here, it does not run there."""
    async with open_hub(site), spoke_at(site, "one") as one, spoke_at(site, "two") as two:
        await two.put(CALL)
        await two.put(CALL)
        await two.wait_ready(LANE)
        for record in await one.records(everything(), 10):
            assert record.state is State.READY
            assert await one.cancel(record.id) is State.READY
        with trio.fail_after(5):
            while two.stats().lanes[LANE].ready:
                await trio.sleep(0.01)
        assert two.lease_nowait(LANE) is None


def everything():
    from faasd_py.api import Filter

    return Filter()


async def test_errors_of_the_hubs_queue_travel(site):
    """As the same error, with the same words."""
    narrow = QueueSite(settings=QueueSettings(max_depth=1), directory=site.directory, spool=site.spool)
    async with open_hub(narrow), spoke_at(site) as queue:
        await queue.put(CALL)
        with pytest.raises(QueueFull, match="max_depth"):
            await queue.put(CALL)


async def test_answers_larger_than_a_message(site):
    """Come in pieces: many records, a large result."""
    async with open_hub(site), spoke_at(site) as queue, trio.open_nursery() as nursery:
        for _ in range(2000):
            nursery.start_soon(queue.put, Call(lane=LANE, call_id="x" * 200))
        await trio.lowlevel.checkpoint()
        await queue.wait_ready(LANE)
        lease = queue.lease_nowait(LANE)
        await queue.start(lease)
        body = os.urandom(250_000)
        await queue.settle(lease, DONE, Outcome(status=200, body=body, size=len(body)))
        assert (await queue.result(lease.id)).body == body
        nursery.cancel_scope.deadline = trio.current_time() + 30
        while queue.stats().lanes[LANE].ready < 1999:
            await trio.sleep(0.01)
        assert len(await queue.records(everything(), 5000)) == 2000


async def test_without_a_hub_the_queue_opens_and_says_so(site):
    """Nothing is promised of a hub that was never met; afterwards its capabilities are known."""
    options = {"connect_timeout": "200ms", "put_timeout": "100ms"}
    async with spoke_at(site, **options) as queue:
        assert not queue.capabilities.durable
        assert "is away" in queue.trouble()
        with pytest.raises(QueueUnavailable, match="is away"):
            await queue.put(CALL)
        with pytest.raises(QueueUnavailable):
            await queue.find("x")
    async with open_hub(site), spoke_at(site) as queue:
        assert queue.capabilities.durable
        assert queue.capabilities.shared
    async with spoke_at(site, **options) as queue:
        assert queue.capabilities.durable


async def test_a_settlement_outlives_a_short_loss_of_the_hub(site):
    """The session is gone with the hub, so the call runs again; a settlement in the same session is told later."""
    async with open_hub(site), spoke_at(site) as queue:
        await queue.put(CALL)
        await queue.wait_ready(LANE)
        lease = queue.lease_nowait(LANE)
        await queue.start(lease)
        queue._link._connection.lost.set()  # the connection breaks under it
        await queue.settle(lease, DONE, Outcome(status=200))
        await queue.flush()
        assert (await queue.find(lease.id)).state is State.DONE
