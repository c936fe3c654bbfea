"""Workers on the queues we ship: memory and SQLite, on the real clock."""

from __future__ import annotations

import shutil
import time
from contextlib import asynccontextmanager

import pytest
import trio

from faasd_py.callback.guard import own_names
from faasd_py.callback.messenger import Messenger
from faasd_py.config import CallbackSettings, QueueSettings
from faasd_py.core.call import Call
from faasd_py.core.durations import Duration
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Outcome
from faasd_py.core.retry import RetryPolicy
from faasd_py.hookspecs import QueueSite
from faasd_py.queue import memory, sqlite
from faasd_py.queue.spool import Spool
from tests.callback.receiver import receiving, says, status
from tests.worker.fakes import Shop, answers, takes

SOON = RetryPolicy(attempts=4, min_wait=Duration(0.02), max_wait=Duration(0.04))
BACKENDS = {"memory": memory.open_queue, "sqlite": sqlite.open_queue}


@pytest.fixture(params=BACKENDS)
def backend(request):
    return request.param


@asynccontextmanager
async def opened(backend: str, root, messenger=None, **settings):
    """Workers on a queue in a directory; leaving drains them."""
    for name in ("queue", "spool"):
        (root / name).mkdir(exist_ok=True)
    site = QueueSite(settings=QueueSettings(max_result=1000), directory=root / "queue", spool=root / "spool")
    async with BACKENDS[backend](site) as queue, trio.open_nursery() as nursery:
        house = Shop(
            spool=Spool(root / "spool"), queue=queue, clock=time.time, limits={"max_result": 1000}, **settings
        )
        if messenger is not None:
            house.workers._delivery_context.messenger = messenger
        await nursery.start(house.workers.run)
        with trio.fail_after(20):
            yield house
        with trio.CancelScope(shield=True), trio.fail_after(5):
            await house.workers.drain(0)
        if messenger is not None:
            messenger.close()


async def put(house, name="f", **fields):
    return await house.queue.put(Call(lane=f"{name}.openfaas-fn", accepted_at=time.time(), **fields))


async def until(condition):
    """Wait until it is so; `opened` bounds the time."""
    while not condition():  # noqa: ASYNC110 - what changes it tells nobody
        await trio.sleep(0.005)


async def ended(house, *accepted):
    """The records, when every call has come to its end."""
    records = []
    for one in accepted:
        while True:
            record = await house.queue.find(one.id)
            if record is not None and record.state in {State.DONE, State.DEAD, State.CANCELLED}:
                records.append(record)
                break
            await trio.sleep(0.005)
    return records


async def test_the_life_cycle_of_a_call(backend, tmp_path):
    """Put, run, done; result, status and attempts are on record."""
    async with opened(backend, tmp_path) as house:
        function = house.registry.add(answers(201, body=b"made"))
        accepted = await put(house, body=b"in", call_id="mine")
        (record,) = await ended(house, accepted)
        assert (record.state, record.status, record.attempts, record.call_id) == (State.DONE, 201, 1, "mine")
        result = await house.queue.result(accepted.id)
        assert (result.body, result.status) == (b"made", 201)
        assert function.runtime.seen[0].body == b"in"


async def test_retries_and_death(backend, tmp_path):
    """Failures wait and come back; in the end they are dead letters with their last answer, and a requeue runs them."""
    async with opened(backend, tmp_path) as house:
        house.registry.add(answers(500, 500, 200), name="heals", retry=SOON)
        sick = house.registry.add(answers(503), name="sick", retry=SOON)
        healed, dead = await ended(house, await put(house, "heals"), await put(house, "sick"))
        assert (healed.state, healed.attempts) == (State.DONE, 3)
        assert (dead.state, dead.attempts, dead.reason, dead.status) == (State.DEAD, 4, "attempts", 503)
        sick.runtime.behaviour = answers(200)
        await house.queue.requeue(dead.id)
        (record,) = await ended(house, dead)
        assert (record.state, record.attempts) == (State.DONE, 1)


async def test_a_thousand_calls_of_ten_functions(backend, tmp_path):
    """All run once, within all limits, whichever lane they are of."""
    async with opened(backend, tmp_path, workers={"max_inflight": 20, "function_max_inflight": 4}) as house:
        functions = [house.registry.add(answers(200), name=f"f{number}") for number in range(10)]
        accepted = []

        async def produce(number):
            accepted.extend([await put(house, f"f{number}", body=b"%d" % index) for index in range(100)])

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(produce, number)
        records = await ended(house, *accepted)
        assert {record.state for record in records} == {State.DONE}
        for function in functions:
            assert sorted(int(seen.body) for seen in function.runtime.seen) == list(range(100))
            assert function.runtime.most <= 4


async def test_strict_order(backend, tmp_path):
    """With waits of nothing at all, a failing call of an ordered function is still not overtaken."""
    async with opened(backend, tmp_path) as house:
        seen = []

        async def behave(invocation, reply):
            seen.append(int(invocation.body))
            await answers(500 if seen.count(seen[-1]) < 3 and seen[-1] % 3 == 0 else 200)(invocation, reply)

        none = RetryPolicy(attempts=9, min_wait=Duration(0), max_wait=Duration(0))
        function = house.registry.add(behave, ordered=True, retry=none)
        accepted = [await put(house, body=b"%d" % number) for number in range(30)]
        await ended(house, *accepted)
        assert seen == sorted(seen)
        assert len(seen) == 30 + 2 * 10
        assert function.runtime.most == 1


async def test_a_callback_over_a_real_connection(backend, tmp_path):
    """The outbox of the queue, the messenger and a receiver that is down at first; a large answer arrives whole."""
    async with receiving(says(status(500), status(204))) as receiver:
        sender = Messenger(
            settings=CallbackSettings(allow=["loopback"]),
            names=own_names(["gateway"], []),
            local=never,
            spool=Spool(tmp_path),
        )
        schedule = {"schedule": [Duration(0.02)] * 3}
        async with opened(backend, tmp_path, sender, callback=schedule) as house:
            house.registry.add(answers(200, body=b"y" * 300_000))
            (record,) = await ended(house, await put(house, callback_url=receiver.url("/done")))
            await receiver.until(lambda: len(receiver.got) == 2)
            await until(lambda: house.metrics.callbacks_by.get("delivered"))
        assert [got.body for got in receiver.got] == [b"y" * 300_000] * 2
        assert len({got.fields[b"webhook-id"] for got in receiver.got}) == 1
        assert receiver.got[0].fields[b"x-call-id"] == record.id.encode()
        assert house.metrics.callbacks_by == {"retry": 1, "delivered": 1}
        assert list((tmp_path / "spool").iterdir()) == []


async def never(call: Call) -> Outcome:
    raise AssertionError("not ours")


async def test_cancelled_while_it_runs(backend, tmp_path):
    """The queue says LEASED, the workers stop it, and the record says CANCELLED."""
    async with opened(backend, tmp_path) as house:
        function = house.registry.add(takes(100))
        accepted = await put(house)
        await until(lambda: function.runtime.now)
        assert await house.queue.cancel(accepted.id) is State.LEASED
        assert house.workers.cancel(accepted.id)
        (record,) = await ended(house, accepted)
        assert record.state is State.CANCELLED


async def test_a_stop_and_a_start(tmp_path):
    """What a drain handed back runs after the next start, as its second attempt."""
    async with opened("sqlite", tmp_path) as house:
        function = house.registry.add(takes(100))
        accepted = [await put(house) for _ in range(20)]
        await until(lambda: function.runtime.now == 8)
    async with opened("sqlite", tmp_path) as house:
        house.registry.add(answers(200))
        records = await ended(house, *accepted)
        assert {record.state for record in records} == {State.DONE}
        assert sorted(record.attempts for record in records) == [1] * 12 + [2] * 8


@pytest.mark.parametrize("on_crash", [True, False])
async def test_after_a_crash(tmp_path, on_crash):
    """A copy of the store, taken while calls run, is what a crash leaves: they run again, unless they must not."""
    before, after = tmp_path / "before", tmp_path / "after"
    before.mkdir()
    async with opened("sqlite", before) as house:
        function = house.registry.add(takes(100))
        accepted = [await put(house, on_crash=on_crash) for _ in range(3)]
        await until(lambda: function.runtime.now == 3)
        await house.queue.flush()
        shutil.copytree(before, after)
    async with opened("sqlite", after) as house:
        house.registry.add(answers(200))
        records = await ended(house, *accepted)
    expected = (State.DONE, "") if on_crash else (State.DEAD, "interrupted")
    assert {(record.state, record.reason or "") for record in records} == {expected}


async def test_lanes_come_and_go(backend, tmp_path, monkeypatch):
    """A lane that was left because it was idle is served again at once."""
    monkeypatch.setattr("faasd_py.worker.workers.TICK", 0.02)
    async with opened(backend, tmp_path) as house:
        house.registry.add(answers(200))
        for _ in range(3):
            await ended(house, await put(house))
            await until(lambda: not house.workers._lanes)
