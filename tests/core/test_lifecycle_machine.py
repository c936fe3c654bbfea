"""Any order of moves against both queues: the books follow the table, and nothing is lost or given twice.

The model is the table of core/lifecycle.py with a dict of calls. Each rule does one thing to a queue and to the model;
after each, records and figures of the queue are what the model says. Time is the test's own clock.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from faasd_py.config import QueueSettings
from faasd_py.core.call import Call
from faasd_py.core.errors import IllegalMove
from faasd_py.core.lifecycle import TABLE, Move, State, after
from faasd_py.core.outcome import Outcome, Verdict
from faasd_py.hookspecs import QueueSite
from faasd_py.queue import alarms, memory, sqlite
from faasd_py.queue.contract import Filter
from faasd_py.queue.sqlite import upkeep, windows

LANES = ("a.fn", "b.fn")
WAITS = (State.READY, State.LEASED, State.DELAYED)


class Model:
    """What the queue must look like."""

    def __init__(self):
        self.now = 1.7e9
        self.state = {}
        self.attempts = {}
        self.due = {}
        self.lane = {}
        self.leases = {}

    def move(self, identity, move):
        self.state[identity] = after(self.state.get(identity), move)

    def ids(self, *states):
        return [identity for identity, state in self.state.items() if state in states]


class Walk:
    """The rules. `pick` chooses among the calls there are; a rule with nothing to choose from does nothing."""

    def __init__(self, queue, model, reopen):
        self.queue = queue
        self.model = model
        self.reopen = reopen

    def some(self, pick, *states):
        ids = sorted(self.model.ids(*states))
        return ids[pick % len(ids)] if ids else None

    async def put(self, pick):
        lane = LANES[pick % 2]
        accepted = await self.queue.put(Call(lane=lane, body=b"x" * (pick % 3 * 1000), priority=pick % 5 - 2))
        self.model.move(accepted.id, Move.PUT)
        self.model.attempts[accepted.id] = 0
        self.model.lane[accepted.id] = lane

    async def put_later(self, pick):
        due = self.model.now + 1 + pick % 50
        accepted = await self.queue.put(Call(lane=LANES[pick % 2], not_before=due))
        self.model.move(accepted.id, Move.PUT_LATER)
        self.model.attempts[accepted.id] = 0
        self.model.lane[accepted.id] = LANES[pick % 2]
        self.model.due[accepted.id] = due

    async def lease(self, pick):
        lane = LANES[pick % 2]
        if not any(self.model.lane[identity] == lane for identity in self.model.ids(State.READY)):
            assert self.queue.lease_nowait(lane) is None
            return
        with trio.fail_after(10):
            await self.queue.wait_ready(lane)
        lease = self.queue.lease_nowait(lane)
        assert lease.call.lane == lane
        assert lease.attempt == self.model.attempts[lease.id] + 1
        self.model.move(lease.id, Move.LEASE)
        self.model.leases[lease.id] = [lease, False]

    async def start(self, pick):
        identity = self.some(pick, State.LEASED)
        if identity is None:
            return
        lease, started = self.model.leases[identity]
        if started:
            with pytest.raises(IllegalMove):
                await self.queue.start(lease)
            return
        await self.queue.start(lease)
        self.model.leases[identity][1] = True
        self.model.attempts[identity] += 1

    async def settle(self, pick):
        identity = self.some(pick, State.LEASED)
        if identity is None:
            return
        lease, started = self.model.leases[identity]
        move = list(Move)[pick % len(Move)]
        verdict = Verdict(move=move, wait=float(pick % 20), reason="because")
        if (State.LEASED, move) not in TABLE:
            with pytest.raises(IllegalMove):
                await self.queue.settle(lease, verdict)
            return
        await self.queue.settle(lease, verdict, Outcome(status=500) if started else None)
        self.model.move(identity, move)
        if move is Move.RETRY:
            self.model.due[identity] = self.model.now + pick % 20
        with pytest.raises(IllegalMove):
            await self.queue.settle(lease, verdict)
        del self.model.leases[identity]

    async def cancel(self, pick):
        identity = self.some(pick, *State)
        if identity is None:
            return
        assert await self.queue.cancel(identity) is self.model.state[identity]
        if self.model.state[identity] in {State.READY, State.DELAYED, State.DEAD}:
            self.model.move(identity, Move.CANCEL)

    async def requeue(self, pick):
        identity = self.some(pick, *State)
        if identity is None:
            return
        assert await self.queue.requeue(identity) is self.model.state[identity]
        if self.model.state[identity] is State.DEAD:
            self.model.move(identity, Move.REQUEUE)
            self.model.attempts[identity] = 0

    async def purge(self, pick):
        lane, state = LANES[pick % 2], list(State)[pick % len(State)]
        gone = [i for i in self.model.ids(state) if self.model.lane[i] == lane and state is not State.LEASED]
        assert await self.queue.purge(Filter(lane=lane, state=state)) == len(gone)
        for identity in gone:
            del self.model.state[identity]

    async def time_passes(self, pick):
        self.model.now += pick % 30
        for identity in self.model.ids(State.DELAYED):
            if self.model.due[identity] <= self.model.now:
                self.model.move(identity, Move.DUE)
        wanted = len(self.model.ids(State.DELAYED))
        with trio.fail_after(10):
            while self.delayed() != wanted:  # noqa: ASYNC110 - a bounded poll
                await trio.sleep(0.002)

    def delayed(self):
        return sum(lane.delayed for lane in self.queue.stats().lanes.values())

    async def crash(self, pick):
        """The process ends, cleanly as far as the file goes; whoever held something is gone."""
        if not self.queue.capabilities.durable:
            return
        await self.reopen(self)
        for identity in self.model.ids(State.LEASED):
            self.model.move(identity, Move.RELEASE)
        self.model.leases.clear()

    async def check(self):
        """Records and figures are what the model says."""
        records = {record.id: record for record in await self.queue.records(Filter(), limit=10_000)}
        assert {identity: record.state for identity, record in records.items()} == self.model.state
        for identity, record in records.items():
            assert record.attempts == self.model.attempts[identity]
        figures = self.queue.stats()
        for lane in LANES:
            counted = figures.lanes.get(lane)
            mine = [
                state for identity, state in self.model.state.items() if self.model.lane[identity] == lane
            ]
            wanted = [mine.count(state) for state in (State.READY, State.LEASED, State.DELAYED, State.DEAD)]
            assert (
                [counted.ready, counted.leased, counted.delayed, counted.dead] if counted else [0] * 4
            ) == wanted
        assert figures.bytes == sum(record.size for record in records.values() if record.state in WAITS)


RULES = ("put", "put", "put", "put_later", "lease", "lease", "start", "settle", "settle", "cancel", "requeue",
         "purge", "time_passes", "crash")  # fmt: skip
STEPS = st.lists(st.tuples(st.sampled_from(RULES), st.integers(0, 10_000)), min_size=10, max_size=60)


@asynccontextmanager
async def walking(backend, model):
    """A walk on a new queue; `reopen` closes the queue and opens it again on the same directory."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        (root / "spool").mkdir()
        site = QueueSite(settings=QueueSettings(), directory=root / "queue", spool=root / "spool")
        opened = backend.open_queue(site, clock=lambda: model.now)

        async def reopen(walk):
            nonlocal opened
            await opened.__aexit__(None, None, None)
            opened = backend.open_queue(site, clock=lambda: model.now)
            walk.queue = await opened.__aenter__()

        try:
            yield Walk(await opened.__aenter__(), model, reopen)
        finally:
            await opened.__aexit__(None, None, None)


async def walk_through(backend, steps):
    """All steps, with the books compared after each."""
    async with walking(backend, Model()) as walk:
        for rule, pick in steps:
            await getattr(walk, rule)(pick)
            await walk.check()


@pytest.mark.parametrize(
    ("backend", "window"),
    [(memory, None), (sqlite, None), (sqlite, 2)],
    ids=["memory", "sqlite", "sqlite with a window of two"],
)
def test_any_order_of_moves_follows_the_table(backend, window, monkeypatch):
    """Up to sixty steps at a time, chosen by hypothesis and shrunk when one fails."""
    monkeypatch.setattr(upkeep, "WAKE", 0.01)
    monkeypatch.setattr(alarms, "LONGEST", 0.01)
    if window is not None:
        monkeypatch.setattr(windows, "WINDOW", window)
        monkeypatch.setattr(windows, "LOW", 1)

    @settings(
        max_examples=int(os.environ.get("EXAMPLES", "40")),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(STEPS)
    def walks(steps):
        trio.run(walk_through, backend, steps)

    walks()
