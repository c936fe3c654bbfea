"""The small parts, each alone."""

from __future__ import annotations

import re

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from faasd_py.api import Call
from faasd_py_nats_streaming import names
from faasd_py_nats_streaming.alarms import Alarms
from faasd_py_nats_streaming.channel import Channel
from faasd_py_nats_streaming.counters import Counters
from faasd_py_nats_streaming.entry import Entry, Phase
from faasd_py_nats_streaming.envelope import (
    DeadLetter,
    Envelope,
    Unreadable,
    decode,
    decode_dead,
    encode,
    encode_dead,
)
from faasd_py_nats_streaming.errors import Away, Unconfirmed
from faasd_py_nats_streaming.identity import ID, Ids, foreign
from faasd_py_nats_streaming.intake import Intake
from faasd_py_nats_streaming.journal import Journal
from faasd_py_nats_streaming.lanes import Lanes
from faasd_py_nats_streaming.pubs import Pubs

CALL = Call(lane="f.openfaas-fn", target=b"/x", body=b"body")


def intake(most: int = 3) -> Intake:
    return Intake(Channel("calls", lambda _: None, max_in_flight=most))


def entry(
    lanes: Lanes, sequence: int, rank: int = 0, call: Call = CALL, place: Intake | None = None
) -> Entry:
    made = Entry(f"id-{sequence}", call, lanes.get(call.lane), place or intake(), sequence, 1, 0, False)
    made.rank = rank
    return made


# names and ids


def test_a_clients_name_is_what_the_server_takes():
    """Characters outside letters, digits, - and _ become _."""
    assert names.client_id("box.local (2)") == "faasd-py-box_local__2_"
    assert names.CLIENT.fullmatch(names.client_id("x" * 500))


def test_channels_of_functions_are_good_subjects():
    """Whatever the function is called; deliveries have none of their own."""
    assert names.function_channel("calls", "resize.openfaas-fn") == "calls.resize_openfaas-fn"
    assert names.CHANNEL.fullmatch(names.function_channel("calls", "a..b*> é" * 100))
    assert names.is_function("callback.fn")
    assert not names.is_function("callback:host:80")


def test_ids_are_uuids_that_grow():
    """Also when the clock steps back; those of other daemons differ."""
    ids, others = Ids(1), Ids(2)
    given = [ids.text(ids.new(now)) for now in (1.7e9, 1.7e9, 1.6e9, 1.8e9)]
    assert given == sorted(set(given))
    assert all(ID.fullmatch(one) for one in given)
    assert others.text(others.new(1.7e9)) != given[0]
    assert ID.fullmatch(foreign("calls", 1, 1_700_000_000_000_000_000))


# envelopes


def test_an_envelope_comes_back_with_everything():
    """And with fields of a later version passed over."""
    sent = Envelope(id="i", call=CALL, hop=3, attempts=2, crashed=True, due=1.5, spooled=True)
    assert decode(encode(sent)) == sent


def test_a_dead_letter_comes_back():
    """For a person, or a tool."""
    sent = DeadLetter(id="i", call=CALL, attempts=2, reason="attempts", outcome=None, died_at=1.0)
    assert decode_dead(encode_dead(sent)) == sent
    for data in (b"", b"fpyd", b"fpyd\x91", encode(Envelope(id="i", call=CALL))):
        with pytest.raises(Unreadable):
            decode_dead(data)


@pytest.mark.parametrize(
    "data", [b"", b"fpy1", b"fpy1\xff", b"fpy1\x90", b"fpy2\x90", b'{"Function": "f"}', b"\0" * 100]
)
def test_other_bytes_are_unreadable(data):
    """One kind of error."""
    with pytest.raises(Unreadable):
        decode(data)


# alarms


def test_alarms_come_in_their_order():
    """Each once, none before its time."""
    alarms: Alarms[str] = Alarms()
    assert alarms.set(3, "c")
    assert alarms.set(1, "a")
    assert not alarms.set(2, "b")
    assert list(alarms.passed(0.5)) == []
    assert alarms.pause(0.5) == 0.5
    assert list(alarms.passed(2)) == ["a", "b"]
    assert list(alarms.passed(9)) == ["c"]


# lanes


async def test_the_earliest_is_given_out_first():
    """By rank, then by sequence."""
    lanes = Lanes()
    for sequence, rank in ((1, 30), (2, 10), (3, 20), (4, 10)):
        lanes.arrived(entry(lanes, sequence, rank))
    lane = lanes.get(CALL.lane)
    assert [lanes.take(lane).sequence for _ in range(4)] == [2, 4, 3, 1]
    assert lanes.take(lane) is None
    assert lane.leased == 4


async def test_idle_lanes_are_forgotten_and_others_are_not():
    """Served, waited for, expected, delayed: each is a reason to stay."""
    lanes = Lanes()
    for name in ("idle", "coming", "late", "delayed", "leased"):
        lanes.get(name)
    lanes.get("coming").coming = lanes.get("late").late = 1
    lanes.get("delayed").delayed = lanes.get("leased").leased = 1
    lanes.forget_idle()
    assert set(lanes.named) == {"coming", "late", "delayed", "leased"}


# counters


@pytest.fixture
def counters(tmp_path):
    return Counters(Journal(tmp_path / "journal"), counting=True)


def test_a_call_is_counted_once_on_its_whole_way(counters):
    """Sent, come, finished; bytes as well."""
    envelope = Envelope(id="i", call=CALL)
    counters.sent(envelope)
    assert (counters.depth, counters.bytes) == (1, CALL.size)
    assert counters.stats().lanes[CALL.lane].ready == 1
    here = entry(counters.lanes, 1)
    counters.came(envelope, here)
    counters.lanes.arrived(here)
    assert (counters.depth, counters.bytes) == (1, CALL.size)
    assert counters.stats().lanes[CALL.lane].ready == 1
    counters.finished(here)
    assert (counters.depth, counters.bytes) == (0, 0)


def test_calls_of_others_are_counted_when_they_come(counters):
    """Nobody told us before."""
    counters.came(Envelope(id="i", call=CALL), entry(counters.lanes, 1))
    assert (counters.depth, counters.bytes) == (1, CALL.size)


def test_what_was_not_sent_is_not_counted(counters):
    """Delayed or not."""
    for due in (None, 5.0):
        envelope = Envelope(id="i", call=CALL, due=due)
        counters.sent(envelope)
        counters.unsent(envelope)
        assert (counters.depth, counters.bytes, counters.delayed) == (0, 0, 0)


def test_what_others_take_is_cleared_after_a_while(counters):
    """What was sent since the last time may still come."""
    for _ in range(10):
        counters.sent(Envelope(id="i", call=CALL))
    counters.clear_outside()
    assert counters.depth == 10
    for _ in range(3):
        counters.sent(Envelope(id="i", call=CALL, due=9.0))
    counters.clear_outside()
    assert counters.depth == 3
    counters.keep_outside()
    counters.clear_outside()
    assert (counters.depth, counters.bytes, counters.delayed) == (0, 0, 0)


def test_figures_are_for_the_next_life(tmp_path):
    """What is held comes again, too."""
    journal = Journal(tmp_path / "journal")
    one = Counters(journal, counting=True)
    one.sent(Envelope(id="i", call=CALL))
    one.sent(Envelope(id="j", call=CALL, due=9.0))
    for sequence, due in ((1, None), (2, 9.0)):
        one.came(Envelope(id="k", call=CALL, due=due), entry(one.lanes, sequence))
        one.sent(Envelope(id="l", call=CALL, due=due))
    journal.note(one.figures())
    two = Counters(Journal(tmp_path / "journal"), counting=True)
    assert (two.depth, two.bytes, two.delayed) == (4, 4 * CALL.size, 2)
    assert Counters(Journal(tmp_path / "journal"), counting=False).depth == 0


# intakes


def test_an_intake_knows_its_span():
    """From the oldest that is held to the newest that came."""
    place, lanes = intake(), Lanes()
    assert place.span() == (0, 0)
    for sequence in (5, 6, 7):
        place.note(sequence, 10, redelivered=False, now=0)
        place.held[sequence] = made = entry(lanes, sequence, place=place)
        made.mark = place.bytes
    assert place.saturated
    assert place.span() == (3, 20)
    del place.held[5]
    assert place.span() == (2, 10)
    assert not place.saturated


def test_skipped_messages_are_lost_only_when_they_do_not_come():
    """Redelivered later, they fill their gap; the first of a life is no gap."""
    place = intake()
    place.note(10, 1, redelivered=False, now=0)
    place.note(14, 1, redelivered=False, now=1)
    place.note(12, 1, redelivered=True, now=2)
    assert place.lost(before=1) == 0
    assert place.lost(before=2) == 2
    assert place.lost(before=9) == 0
    place.note(20, 1, redelivered=True, now=3)
    assert not place.missing


# pubs


async def test_publications_end_as_the_server_says():
    """Confirmed, refused, or late; each ending is told once."""
    pubs, told = Pubs(10, 5), []
    good, bad = pubs.open("a", told.append), pubs.open("b", told.append)
    pubs.end("a", None)
    pubs.end("a", Away("again"))
    await good.wait()
    async with trio.open_nursery() as nursery:

        async def wait():
            with pytest.raises(Away):
                await bad.wait()

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert bad.waited
        pubs.end("b", Away("gone"))
    with pytest.raises(Away):
        await bad.wait()
    assert told == [good, bad]


async def test_late_confirmations_are_unconfirmed(mock_clock: MockClock):
    """By the deadline of each."""
    pubs = Pubs(10, 5)
    first = pubs.open("a", None)
    mock_clock.jump(3)
    second = pubs.open("b", None)
    pubs.expire(trio.current_time())
    mock_clock.jump(2.5)
    pubs.expire(trio.current_time())
    with pytest.raises(Unconfirmed, match="within 5 s"):
        await first.wait()
    assert not second.done
    pubs.fail_all(lambda: Away("over"))
    assert isinstance(second.error, Away)


async def test_so_many_may_be_under_way():
    """The next waits for room; a waiter that is cancelled leaves its publication alone."""
    pubs = Pubs(2, 5)
    waiting = pubs.open("a", None)
    pubs.open("b", None)
    with trio.move_on_after(0.01) as scope:
        await waiting.wait()
    assert scope.cancelled_caught
    assert not waiting.waited
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pubs.room)
        nursery.start_soon(pubs.empty)
        await trio.testing.wait_all_tasks_blocked()
        pubs.end("a", None)
        await trio.testing.wait_all_tasks_blocked()
        pubs.end("b", None)
    assert waiting.done


def test_entries_tell_where_they_stand():
    """For logs and failed tests."""
    lanes = Lanes()
    made = entry(lanes, 4)
    made.phase = Phase.HELD
    assert repr(made) == "<Entry id-4 f.openfaas-fn HELD calls#4>"
    assert made.guid == "id-4"
    assert re.match(r"<Lane f.openfaas-fn at hand=0", repr(lanes.get(CALL.lane)))
    assert repr(made.intake) == "<Intake calls held=0 last=0>"
    assert repr(made.intake.channel) == "<Channel calls idle>"
