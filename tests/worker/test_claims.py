"""Lanes that a service claims: it sees to them, and the daemon's own workers leave them alone."""

from __future__ import annotations

from trio.testing import MockClock, wait_all_tasks_blocked

from faasd_py.core.lifecycle import State
from tests.worker.fakes import answers


async def test_a_claimed_lane_is_left_alone(shop, autojump_clock: MockClock):
    """Nobody here answers 404 in the place of a function that is on another machine."""
    house = await shop()
    asked = []
    house.workers.claim_lanes(lambda name, ours: asked.append((name, ours)) or not ours)
    entry = house.put()
    await wait_all_tasks_blocked()
    assert asked == [("f.openfaas-fn", False)]
    assert (entry.state, entry.attempts) == (State.READY, 0)


async def test_a_lane_that_is_left_is_asked_about_again(shop, autojump_clock: MockClock):
    """By then the function may be here, and runs."""
    house = await shop()
    house.workers.claim_lanes(lambda name, ours: not ours)
    entry = house.put()
    await wait_all_tasks_blocked()
    house.registry.add(answers(200))
    house.queue.leave("f.openfaas-fn")
    await house.queue.ended(entry)
    assert entry.end == (State.DONE, "")


async def test_whoever_claims_nothing_is_told_all_the_same(shop, autojump_clock: MockClock):
    """Each claim hears of each lane, also when another took it."""
    house = await shop()
    house.registry.add(answers(200))
    heard = []
    for number in (1, 2):
        house.workers.claim_lanes(lambda name, ours, number=number: heard.append((number, ours)))
    await house.queue.ended(house.put())
    assert heard == [(1, True), (2, True)]
