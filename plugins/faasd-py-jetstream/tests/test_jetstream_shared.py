"""Several daemons on one queue."""

from __future__ import annotations

import time
from collections import Counter

import pytest
import trio

from faasd_py.api import Filter, IdempotencyConflict, Move, State, Verdict


async def test_two_daemons_share_a_batch(bench, until):
    """Every call runs once, both take part, and neither is given a call that the other has."""
    async with bench.open() as one, bench.open() as two:
        ids = [(await one.put(bench.call())).id for _ in range(300)]
        ran = {"one": [], "two": []}
        async with trio.open_nursery() as nursery:
            for name, queue in (("one", one), ("two", two)):
                for _ in range(4):
                    nursery.start_soon(bench.work, queue, ran[name], bench.lane, 0.002)
            await until(lambda: len(ran["one"]) + len(ran["two"]) == 300)
            await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        assert sorted(ran["one"] + ran["two"]) == sorted(ids)
        assert min(map(len, ran.values())) > 30


async def test_a_lane_that_another_daemon_fills_is_announced(bench):
    """A daemon that was idle learns of it at once, not at its next look."""
    async with (
        bench.open(options={"poll_interval": "60s"}) as one,
        bench.open(options={"poll_interval": "60s"}) as two,
    ):
        await one.put(bench.call(lane="new.lane"))
        with trio.fail_after(5):
            assert await two.next_lane() == "new.lane"
            assert (await bench.take(two, "new.lane")).call.lane == "new.lane"


async def test_a_long_call_is_not_given_to_another(bench):
    """It shows signs of life for longer than the ack wait."""
    async with bench.open(options={"ack_wait": "1s"}) as one, bench.open(options={"ack_wait": "1s"}) as two:
        await one.put(bench.call())
        lease = await bench.begin(one)
        with trio.move_on_after(2.5):
            await two.wait_ready(bench.lane)
            raise AssertionError("the call was given out twice")
        await one.settle(lease, bench.done, bench.answer)
        await one.flush()
        assert (await two.find(lease.id)).state is State.DONE


async def test_what_nobody_takes_goes_to_others(bench):
    """A daemon that holds calls at hand without a worker gives them back within seconds."""
    async with bench.open() as one:
        for _ in range(5):
            await one.put(bench.call())
        await one.wait_ready(bench.lane)
        async with bench.open() as two:
            got = [await bench.take(two) for _ in range(5)]
        assert len({lease.id for lease in got}) == 5
        assert not any(lease.crashed or lease.attempt != 1 for lease in got)


async def test_calls_of_a_dead_daemon_run_elsewhere(bench, until):
    """After the ack wait; what it had started counts, and is told to be cut short."""
    async with bench.open() as two:
        async with bench.open() as one:
            accepted = await one.put(bench.call())
            await bench.begin(one)
            one._context.client.publish = lambda *_, **__: None
        lease = await bench.take(two)
        assert (lease.id, lease.attempt, lease.crashed) == (accepted.id, 2, True)


async def test_a_daemon_that_leaves_gives_back_at_once(bench):
    """Closing is no crash: nobody waits for the ack wait."""
    async with bench.open(options={"ack_wait": "60s"}) as two:
        async with bench.open(options={"ack_wait": "60s"}) as one:
            await one.put(bench.call())
            await bench.take(one)
        lease = await bench.take(two, within=5)
        assert (lease.attempt, lease.crashed) == (1, False)


async def test_idempotency_keys_hold_across_daemons(bench):
    """The first call's ids, whoever asks; another body is a conflict."""
    async with bench.open() as one, bench.open() as two:
        first = await one.put(bench.call(idempotency_key="k", fingerprint=b"1", call_id="a"))
        again = await two.put(bench.call(idempotency_key="k", fingerprint=b"1", call_id="b"))
        assert (again.id, again.call_id, again.duplicate) == (first.id, "a", True)
        with pytest.raises(IdempotencyConflict):
            await two.put(bench.call(idempotency_key="k", fingerprint=b"2"))


async def test_one_of_many_daemons_wins_a_key(bench):
    """Put at the same moment by four: one call."""
    async with bench.open() as a, bench.open() as b, bench.open() as c, bench.open() as d:
        receipts = []

        async def put(queue):
            receipts.append(await queue.put(bench.call(idempotency_key="k", fingerprint=b"1")))

        async with trio.open_nursery() as nursery:
            for queue in (a, b, c, d) * 3:
                nursery.start_soon(put, queue)
        assert len({receipt.id for receipt in receipts}) == 1
        assert sum(not receipt.duplicate for receipt in receipts) == 1
        await bench.take(a)
        await a._watch.look_once()
        assert a._lanes.named[bench.lane].ready == 0


async def test_a_claim_whose_daemon_died_is_put_by_the_next(bench):
    """Dead between claim and put: the next caller's 202 is true."""
    async with bench.open() as one, bench.open() as two, bench.open() as three:

        async def dies(*_):
            raise KeyError

        one._claims._put = dies
        with pytest.raises(KeyError):
            await one.put(bench.call(idempotency_key="k", fingerprint=b"1"))
        again = await two.put(bench.call(idempotency_key="k", fingerprint=b"1"))
        assert again.duplicate
        assert (await bench.take(two)).id == again.id
        assert (await three.put(bench.call(idempotency_key="k", fingerprint=b"1"))).id == again.id
        assert two.lease_nowait(bench.lane) is None


async def test_another_daemon_cancels_what_waits(bench, until):
    """Also what lies at hand elsewhere: it is not run."""
    async with bench.open() as one, bench.open() as two:
        accepted = await one.put(bench.call())
        await one.wait_ready(bench.lane)
        assert await two.cancel(accepted.id) is State.READY
        await until(lambda: not one._lanes.named[bench.lane].count)
        assert one.lease_nowait(bench.lane) is None
        assert (await one.find(accepted.id)).state is State.CANCELLED


async def test_another_daemon_sees_what_runs(bench):
    """LEASED, with its attempt; it is not cancelled behind its worker's back."""
    async with bench.open() as one, bench.open() as two:
        accepted = await one.put(bench.call())
        lease = await bench.begin(one)
        record = await two.find(accepted.id)
        assert (record.state, record.attempts) == (State.LEASED, 1)
        assert [found.id for found in await two.records(Filter(state=State.LEASED))] == [accepted.id]
        assert await two.cancel(accepted.id) is State.LEASED
        await one.settle(lease, bench.done, bench.answer)


async def test_a_delayed_call_runs_on_whichever_daemon(bench):
    """When it is due; put on one, run on the other."""
    async with bench.open() as one, bench.open() as two:
        due = time.time() + 0.3
        accepted = await one.put(bench.call(not_before=due))
        lease = await bench.take(two)
        assert lease.id == accepted.id
        assert time.time() >= due - 0.002


async def test_attempts_add_up_across_daemons(bench):
    """A retry on one is the second attempt on the other, with its history."""
    async with bench.open() as two:
        async with bench.open() as one:
            accepted = await one.put(bench.call())
            lease = await bench.begin(one)
            await one.settle(lease, Verdict(move=Move.RETRY, wait=0.1, reason="status"), bench.failed)
            await one.flush()
        lease = await bench.begin(two)
        assert (lease.id, lease.attempt, lease.crashed) == (accepted.id, 2, False)
        await two.settle(lease, bench.done, bench.answer)
        assert [line.status for line in (await two.find(accepted.id)).history] == [500, 200]


async def test_figures_tell_of_the_others(bench, until):
    """What other daemons hold is leased, what they put is ready, within the poll interval."""
    quick = {"poll_interval": "100ms"}
    async with bench.open(options=quick) as one, bench.open(options=quick) as two:
        for _ in range(5):
            await one.put(bench.call())
        await bench.take(one)

        def seen():
            lane = two.stats().lanes.get(bench.lane)
            return lane is not None and (lane.ready + lane.leased, two._figures.depth) == (5, 5)

        await until(seen)


async def test_large_bodies_travel_between_daemons(bench):
    """Put as a file on one, run with a file on the other, gone from the store afterwards."""
    async with bench.open("here") as one, bench.open("there") as two:
        path = bench.directory / "here" / "spool" / "body"
        data = bytes(range(256)) * 4000
        path.write_bytes(data)
        from faasd_py.api import Spooled

        await one.put(bench.call(body=Spooled(path=str(path), size=len(data))))
        assert not path.exists()
        lease = await bench.begin(two)
        assert isinstance(lease.call.body, Spooled)
        assert await trio.Path(lease.call.body.path).read_bytes() == data
        await two.settle(lease, bench.done, bench.answer)
        await two.flush()
        with trio.fail_after(5):
            while await bench.messages(two, f"OBJ_{two._context.names.bodies}"):
                await trio.sleep(0.01)
        assert not list((bench.directory / "there" / "queue" / "bodies").iterdir())


async def test_order_is_kept_through_a_hand_back(bench):
    """A call that was handed back comes before those behind it."""
    async with bench.open() as queue:
        ids = [(await queue.put(bench.call())).id for _ in range(10)]
        lease = await bench.begin(queue)
        await queue.settle(lease, Verdict(move=Move.RELEASE))
        await queue.flush()
        got = [(await bench.take(queue)).id for _ in range(10)]
        assert got == ids


async def test_nothing_runs_twice_at_once(bench, until):
    """Three daemons, calls that are retried now and then: no call is in two hands at any time."""
    async with bench.open() as a, bench.open() as b, bench.open() as c:
        running: set[str] = set()
        runs: Counter[str] = Counter()

        async def work(queue):
            while True:
                lease = await bench.take(queue)
                assert lease.id not in running
                running.add(lease.id)
                await queue.start(lease)
                await trio.sleep(0.001)
                runs[lease.id] += 1
                running.discard(lease.id)
                again = lease.attempt == 1 and hash(lease.id) % 5 == 0
                verdict = Verdict(move=Move.RETRY, wait=0.01) if again else bench.done
                await queue.settle(lease, verdict, bench.failed if again else bench.answer)

        ids = [(await queue.put(bench.call())).id for _ in range(60) for queue in (a, b, c)]
        wanted = sum(2 if hash(one) % 5 == 0 else 1 for one in ids)
        async with trio.open_nursery() as nursery:
            for queue in (a, b, c) * 4:
                nursery.start_soon(work, queue)
            await until(lambda: sum(runs.values()) >= wanted)
            await trio.sleep(0.1)
            nursery.cancel_scope.cancel()
        assert sum(runs.values()) == wanted
        assert set(runs) == set(ids)
