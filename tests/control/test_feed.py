"""The ring of events: numbered, bounded, silent when nobody listens; and who waits for a call, by the same events."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock

from faasd_py.control.feed import Feed, Missed
from faasd_py.control.refused import Refused
from faasd_py.control.waits import LOOK, Waits, until_over
from faasd_py.core.lifecycle import State
from faasd_py.observe.events import Events


class Clock:
    """Time that stands still until it is moved."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self):
        return self.now


@pytest.fixture
def events():
    return Events()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def feed(events, clock):
    return Feed(events, size=5, linger=60, clock=clock)


def numbers(told):
    return [one.number for one in told]


def test_nobody_follows(events, feed):
    """Then the feed hears nothing, and emitting costs what it costs without one."""
    events.emit("call.done", id="x")
    assert not events.heard
    assert feed.last == 0


def test_what_happened_since(events, feed):
    """In order, with the facts as JSON; numbers are consecutive."""
    with feed.following():
        at = feed.last
        for number in range(3):
            events.emit("call.done", id=str(number), function="f.ns")
        missed, told = feed.after(at)
        assert missed is None
        assert numbers(told) == [at + 1, at + 2, at + 3]
        assert (told[0].event, told[0].function) == ("call.done", "f.ns")
        assert b'"id":"0"' in told[0].data
        assert numbers(feed.after(at + 2)[1]) == [at + 3]
        assert feed.after(at + 3) == (None, ())


def test_the_ring_is_bounded_and_says_what_is_lost(events, feed):
    """The count is exact; the rest is there."""
    with feed.following():
        at = feed.last
        for _ in range(12):
            events.emit("call.done")
        missed, told = feed.after(at)
        assert missed == Missed(7)
        assert numbers(told) == list(range(at + 8, at + 13))
        assert feed.after(at + 7)[0] is None


@pytest.mark.parametrize("number", [-1, 0, 17, 1 << 62])
def test_numbers_of_somebody_else(events, feed, number):
    """From another life of the daemon, or made up: everything at hand, and nobody knows how much is lost."""
    with feed.following():
        events.emit("call.done")
        missed, told = feed.after(number)
        assert missed == Missed(None)
        assert len(told) == 1


def test_who_reconnects_within_a_minute_misses_nothing(events, feed, clock):
    """The feed goes on listening for a while when the last one has gone."""
    with feed.following():
        at = feed.last
    clock.now += 59
    events.emit("call.done")
    with feed.following():
        assert numbers(feed.after(at)[1]) == [at + 1]
        assert feed.after(at)[0] is None


def test_after_a_minute_the_feed_lets_go(events, feed, clock):
    """The next event finds nobody; who comes later learns that something may be lost, and numbers still grow."""
    with feed.following():
        at = feed.last
    clock.now += 61
    assert events
    events.emit("call.done")
    assert not events.heard
    with feed.following():
        assert feed.last > at
        assert feed.after(at) == (Missed(None), ())


def test_numbers_grow_from_life_to_life(events, clock):
    """A later feed begins above an earlier one, also when that had many events."""
    first = Feed(events, clock=clock)
    with first.following():
        for _ in range(1000):
            events.emit("call.done")
    clock.now += 1
    second = Feed(Events(), clock=clock)
    with second.following():
        assert second.last > first.last


def test_the_clock_steps_back(events, feed, clock):
    """Numbers of one feed never do."""
    with feed.following():
        at = feed.last
    clock.now += 100
    events.emit("call.done")
    clock.now -= 10_000
    with feed.following():
        assert feed.last > at


def test_facts_that_are_no_json_are_told_as_text(events, feed, tmp_path):
    """A plug-in's event cannot break the stream."""
    with feed.following():
        events.emit("odd", path=tmp_path)
        assert str(tmp_path).encode() in feed.after(feed.last - 1)[1][0].data


async def test_waiting_for_the_next(events, feed, autojump_clock: MockClock):
    """All who wait are woken by one event; one that has come already is not waited for."""
    woken = []

    async def follower(at):
        await feed.wait(at)
        woken.append(feed.last)

    with feed.following():
        at = feed.last
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(follower, at)
            await trio.testing.wait_all_tasks_blocked()
            assert not woken
            events.emit("call.done")
        assert woken == [at + 1] * 3
        await feed.wait(at)


# waiting for a call


async def over(daemon, waits, call, seconds=100.0):
    start = trio.current_time()
    record = await until_over(daemon, waits, call, seconds)
    return record.state, trio.current_time() - start


def finish(daemon, call, event="call.done", state=State.DONE):
    import msgspec

    record = daemon.queue.calls[call]
    daemon.queue.calls[call] = msgspec.structs.replace(record, state=state)
    if event:
        daemon.events.emit(event, id=call, call_id=record.call_id, function=record.lane)


@pytest.mark.parametrize("state", [State.DONE, State.DEAD, State.CANCELLED])
async def test_a_call_that_is_over_is_not_waited_for(daemon, autojump_clock: MockClock, state):
    """At once, and nobody listens to anything."""
    waits = Waits(daemon.events)
    call = daemon.queue.add(state)
    assert await over(daemon, waits, call) == (state, 0)
    assert not daemon.events.heard


async def test_an_event_wakes_who_waits(daemon, autojump_clock: MockClock):
    """Those who wait for this call, however they named it; and only while they wait is anything listened to."""
    waits = Waits(daemon.events)
    call, other = daemon.queue.add(State.LEASED), daemon.queue.add(State.LEASED)
    results = []

    async def wait(name):
        results.append((name, await over(daemon, waits, name)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, call)
        nursery.start_soon(wait, "call-1")
        nursery.start_soon(wait, other)
        await trio.sleep(1)
        assert (waits.count, daemon.events.heard) == (3, True)
        finish(daemon, call)
        await trio.sleep(1)
        assert sorted(results) == [("call-1", (State.DONE, 1)), (call, (State.DONE, 1))]
        finish(daemon, other, "call.dead", State.DEAD)
    assert (waits.count, daemon.events.heard, repr(waits)) == (0, False, "<Waits: 0 wait for 0 calls>")


async def test_the_clock_wakes_where_no_event_does(daemon, autojump_clock: MockClock):
    """Another daemon may have run it."""
    waits = Waits(daemon.events)
    call = daemon.queue.add(State.LEASED)
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            assert await over(daemon, waits, call) == (State.DONE, LOOK)

        await trio.sleep(1)
        finish(daemon, call, event="")


async def test_waiting_has_an_end(daemon, autojump_clock: MockClock):
    """Then the call is answered as it stands."""
    call = daemon.queue.add(State.DELAYED)
    assert await over(daemon, Waits(daemon.events), call, 40) == (State.DELAYED, 40)


async def test_a_stop_ends_every_wait(daemon, autojump_clock: MockClock):
    """A drain does not wait for those who wait."""
    call = daemon.queue.add()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            assert await over(daemon, Waits(daemon.events), call) == (State.READY, 3)

        await trio.sleep(3)
        daemon.stopping = True
        daemon.events.emit("daemon.stopping")


async def test_a_call_that_is_purged_meanwhile(daemon, autojump_clock: MockClock):
    """404, as for whoever asks later."""
    call = daemon.queue.add()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _():
            with pytest.raises(Refused, match="not found"):
                await over(daemon, Waits(daemon.events), call)

        await trio.sleep(2)
        del daemon.queue.calls[call]
        daemon.events.emit("calls.purged", function=None, state="ready", count=1)


async def test_who_goes_leaves_nothing_behind(daemon, autojump_clock: MockClock):
    """Cancelled in the middle."""
    waits = Waits(daemon.events)
    call = daemon.queue.add()
    with trio.move_on_after(5):
        await until_over(daemon, waits, call, 100)
    assert (waits.count, waits._bells, daemon.events.heard) == (0, {}, False)


async def test_waiters_are_bounded(daemon, autojump_clock: MockClock):
    """503 for one too many; a place that is left is free."""
    waits = Waits(daemon.events, most=2)
    call = daemon.queue.add()
    async with trio.open_nursery() as nursery:
        for _ in range(2):
            nursery.start_soon(until_over, daemon, waits, call, 10)
        await trio.sleep(1)
        with pytest.raises(Refused, match="2 wait for calls already") as error:
            await until_over(daemon, waits, call, 10)
        assert error.value.status == 503
    assert await over(daemon, waits, call, 1) == (State.READY, 1)
