"""Named queues: slots of their own, apart from the house's, and lanes that are moved while calls run."""

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.config import GroupSettings, WorkerSettings, parse
from faasd_py.core.annotations import DEFAULT_QUEUE, QUEUE, queue_of
from faasd_py.core.errors import ConfigError
from faasd_py.worker.lane import Lane
from faasd_py.worker.parker import Parker
from faasd_py.worker.pools import Pools
from faasd_py.worker.slots import Slots
from tests.worker.fakes import takes

SLOW = {QUEUE: "slow"}


def settings(house: int = 4, **groups: int) -> WorkerSettings:
    return WorkerSettings(
        max_inflight=house,
        groups={name: GroupSettings(max_inflight=number) for name, number in groups.items()},
    )


async def opened(shop, house: int = 4, **groups: int):
    """Workers with this many slots."""
    made = await shop()
    made.workers.reconfigure(settings(house, **groups))
    return made


def most(*functions) -> int:
    return sum(function.runtime.now for function in functions)


async def test_a_group_has_slots_of_its_own(autojump_clock, shop):
    """Its calls take none of the house's, and the house's take none of its."""
    house = await opened(shop, 3, slow=2)
    slow = [house.registry.add(takes(10), name, annotations=SLOW, max_inflight=9) for name in "ab"]
    other = house.registry.add(takes(10), "other", max_inflight=9)
    calls = [house.put(name) for name in "ab" for _ in range(3)] + [house.put("other") for _ in range(5)]
    await trio.sleep(5)
    assert (most(*slow), most(other)) == (2, 3)
    await house.queue.ended(*calls)
    assert max(function.runtime.most for function in slow) <= 2
    assert house.workers._pools.of("slow").used == house.workers._pools.of("").used == 0


async def test_a_full_group_holds_up_nobody(autojump_clock, shop):
    """Calls of the house go on while a thousand of a group wait; and the other way round."""
    house = await opened(shop, 1, slow=1)
    house.registry.add(takes(100), "a", annotations=SLOW)
    house.registry.add(takes(1), "quick")
    for _ in range(1000):
        house.put("a")
    await trio.sleep(1)
    await house.queue.ended(*[house.put("quick") for _ in range(20)])
    assert trio.current_time() < 30


async def test_lanes_of_a_group_take_turns(autojump_clock, shop):
    """As those of the house do."""
    house = await opened(shop, 4, slow=1)
    order = []

    def notes(name):
        async def behave(invocation, reply):
            order.append(name)
            await takes(1)(invocation, reply)

        return behave

    for name in "ab":
        house.registry.add(notes(name), name, annotations=SLOW)
    calls = [house.put("a") for _ in range(4)] + [house.put("b") for _ in range(4)]
    await house.queue.ended(*calls)
    assert order in (list("abababab"), list("aabababb"), list("babababa")), order


async def test_a_group_without_a_number_shares_the_houses_slots(autojump_clock, shop):
    """The annotation alone changes nothing but the name in metrics."""
    house = await opened(shop, 2)
    a = house.registry.add(takes(10), "a", annotations=SLOW)
    b = house.registry.add(takes(10), "b")
    calls = [house.put(name) for name in "ab" for _ in range(3)]
    await trio.sleep(5)
    assert most(a, b) == 2
    await house.queue.ended(*calls)


async def test_a_reload_gives_and_takes_a_number(autojump_clock, shop):
    """At once for the next calls; those that run give back to where their slots are from."""
    house = await opened(shop, 2)
    a = house.registry.add(takes(10), "a", annotations=SLOW, max_inflight=20)
    b = house.registry.add(takes(10), "b", max_inflight=20)
    calls = [house.put(name) for name in "ab" for _ in range(40)]
    await trio.sleep(5)
    assert most(a, b) == 2
    house.workers.reconfigure(settings(2, slow=3))
    await trio.sleep(7)
    assert (most(a), most(b)) == (3, 2)
    house.workers.reconfigure(settings(2, slow=5))
    await trio.sleep(10)
    assert (most(a), most(b)) == (5, 2)
    house.workers.reconfigure(settings(2))
    await trio.sleep(12)
    assert most(a, b) == 2
    await house.queue.ended(*calls)
    assert house.workers._pools.of("").used == 0


async def test_an_annotation_that_changes_moves_the_lane(autojump_clock, shop):
    """A lane that waits for a slot in vain has one in its new group at once."""
    house = await opened(shop, 1, slow=1)
    house.registry.add(takes(100), "stopper")
    a = house.registry.add(takes(1), "a")
    stopper = house.put("stopper")
    await trio.sleep(1)
    waits = house.put("a")
    await trio.sleep(1)
    assert not a.runtime.seen
    a.settings = type(a.settings)(command=["x"], annotations=SLOW)
    house.workers.refresh()
    await house.queue.ended(waits)
    assert trio.current_time() < 5
    await house.queue.ended(stopper)
    assert house.workers._pools.of("slow").used == house.workers._pools.of("").used == 0


async def test_a_moved_lane_that_waits_can_be_stopped(autojump_clock, shop):
    """It waits for its new group's slots, and leaves that queue when the house drains."""
    house = await opened(shop, 1, slow=1)
    house.registry.add(takes(50), "one")
    house.registry.add(takes(50), "two", annotations=SLOW)
    a = house.registry.add(takes(1), "a")
    for name in ("one", "two"):
        house.put(name)
    await trio.sleep(1)
    waits = house.put("a")
    await trio.sleep(1)
    a.settings = type(a.settings)(command=["x"], annotations=SLOW)
    house.workers.refresh()
    await trio.sleep(1)
    await house.workers.drain(100)
    assert waits.attempts == 0
    for group in ("", "slow"):
        slots = house.workers._pools.of(group)
        assert (slots.used, len(slots._waiting)) == (0, 0)


class Waiter:
    """A worker that waits for a slot."""

    def __init__(self) -> None:
        self.parker = Parker()
        self.granted: list[Slots] = []

    def dismiss(self) -> None: ...

    def grant(self, slots) -> None:
        self.granted.append(slots)


class Idle:
    ordered = False

    def limit(self) -> int:
        return 8


@given(st.lists(st.sampled_from(["wait", "give", "a", "b", "house"]), max_size=40))
def test_moves_lose_no_slot_and_no_waiter(moves):
    """Whatever is done to a lane: who waits, waits in the lane's slots, or was granted one, once."""
    pools: Pools[Waiter] = Pools(1, {"a": 1, "b": 2})
    lane = Lane("l", Idle(), pools.of("house"), lambda _: None, lambda: 0.0)
    held, waiting = [], None
    for move in moves:
        if move == "wait" and waiting is None:
            if lane.slots.take():
                held.append(lane.slots)
            else:
                waiting = Waiter()
                lane.slots.queue("l", waiting)
        elif move == "give" and held:
            slots = held.pop(0)
            for worker in slots.give():
                worker.grant(slots)
        elif move in {"a", "b", "house"}:
            lane.move(pools.of(move))
        if waiting is not None and waiting.granted:
            held += waiting.granted
            assert len(waiting.granted) == 1
            waiting = None
        for name in ("a", "b", "house"):
            slots = pools.of(name)
            assert slots.used == held.count(slots) <= slots.limit
            assert ("l" in slots._waiting) == (waiting is not None and slots is lane.slots)


def test_pools_are_resized_in_place():
    """Holders and waiters stay where they are."""
    pools: Pools[str] = Pools(2, {"a": 1})
    a = pools.of("a")
    assert a.take()
    a.queue("x", "X")
    assert pools.resize(2, {"a": 2, "b": 1}) == [(pools.of("none"), []), (a, ["X"])]
    assert pools.of("a") is a
    assert pools.of("b").limit == 1
    pools.resize(2, {})
    assert pools.of("a") is pools.of("b") is pools.of("none")


def test_the_name_of_a_queue():
    """As the annotation says, when it can be a name."""
    assert queue_of({}) == DEFAULT_QUEUE == "faas-request"
    assert queue_of({QUEUE: "Slow_1.x"}) == "Slow_1.x"
    for bad in ("", " ", "a b", "-a", "a" * 64, "a\n", "\N{LATIN SMALL LETTER E WITH ACUTE}"):
        assert queue_of({QUEUE: bad}) == DEFAULT_QUEUE


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[workers.groups.slow]", "workers.groups.slow.max_inflight: this setting is required"),
        (
            "[workers.groups.slow]\nmax_inflight = 0",
            "workers.groups.slow.max_inflight: expected an integer >= 1, got 0",
        ),
        (
            "[workers.groups.'a b']\nmax_inflight = 1",
            "workers.groups.a b: expected 1 to 63 letters, digits, '-', '_' or '.', got 'a b'",
        ),
        (
            "[workers.groups.faas-request]\nmax_inflight = 1",
            "workers.groups.faas-request: the slots of this queue are workers.max_inflight",
        ),
        (
            "[functions.f]\ncommand=['a']\nannotations={'com.openfaas.queue'='a b'}",
            "functions.f.annotations.com.openfaas.queue: expected 1 to 63 letters",
        ),
    ],
)
def test_what_is_refused(text, sentence):
    """With the place."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "c")
    assert str(caught.value).startswith(f"c: {sentence}")
