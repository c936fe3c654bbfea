"""A daemon dies between any two words to the broker: the call is run again, or ended by what is on record."""

from __future__ import annotations

import msgspec
import pytest
import trio

from faasd_py.api import Filter, Move, State, Verdict
from faasd_py_jetstream import rows

OUTBOX = "callback:box:80"


def dies_at(queue, words):
    """Nothing that `words` finds in subject or data gets out, nor anything after it."""
    client, dead = queue._context.client, []
    publish = client.publish

    def mute(subject, data, **fields):
        if dead or words(subject, data):
            dead.append(subject)
        else:
            publish(subject, data, **fields)

    client.publish = mute
    queue.close = trio.lowlevel.checkpoint  # the dead do not say good-bye
    return dead


async def test_dead_between_the_row_and_the_last_word(bench, until):
    """The row says DONE: the call is not run again."""
    async with bench.open() as later:
        async with bench.open() as queue:
            accepted = await queue.put(bench.call())
            lease = await bench.begin(queue)
            dead = dies_at(queue, lambda _, data: data == b"+ACK")
            await queue.settle(lease, bench.done, bench.answer)
            await until(lambda: dead)
        with trio.move_on_after(1.5):
            await later.wait_ready(bench.lane)
        assert later.lease_nowait(bench.lane) is None
        assert (await later.find(accepted.id)).state is State.DONE
        assert await bench.messages(later, later._context.names.calls) == 0


@pytest.mark.parametrize("buried", [False, True])
async def test_dead_between_the_callback_and_the_row(bench, until, buried):
    """The note in the callback's transaction says that the call is over: the callback goes out once, nothing runs again."""
    async with bench.open() as later:
        async with bench.open() as queue:
            accepted = await queue.put(bench.call())
            lease = await bench.begin(queue)
            dead = dies_at(queue, lambda subject, _: "-results." in subject or ".dead." in subject)
            callback = bench.call(lane=OUTBOX, origin=accepted.id)
            verdict, outcome = (bench.bury, bench.failed) if buried else (bench.done, bench.answer)
            await queue.settle(lease, verdict, outcome, callback)
            await until(lambda: dead)
        delivery = await bench.run(later, OUTBOX)
        assert delivery.call.origin == accepted.id
        with trio.fail_after(10):
            while await bench.messages(later, later._context.names.calls) > 1:
                await trio.sleep(0.05)
        assert later.lease_nowait(bench.lane) is None
        record = await later.find(accepted.id)
        assert record.state is (State.DEAD if buried else State.DONE)
        assert await later.result(accepted.id) == outcome
        if buried:
            assert await later.requeue(accepted.id) is State.DEAD
            assert (await bench.run(later)).attempt == 1
            await later.flush()
            assert (await later.find(accepted.id)).state is State.DONE


async def test_dead_before_the_callback(bench, until):
    """Nothing of the end is on record: the call runs again, and its callback comes then."""
    async with bench.open() as later:
        async with bench.open() as queue:
            accepted = await queue.put(bench.call())
            lease = await bench.begin(queue)
            await queue._lanes.usable(OUTBOX, 0)
            dead = dies_at(queue, lambda subject, _: ".call.callback" in subject or ".ended." in subject)
            await queue.settle(lease, bench.done, bench.answer, bench.call(lane=OUTBOX, origin=accepted.id))
            await until(lambda: dead)
        again = await bench.begin(later)
        assert (again.id, again.attempt, again.crashed) == (accepted.id, 2, True)
        assert not await later.records(Filter(lane=OUTBOX))
        await later.settle(again, bench.done, bench.answer, bench.call(lane=OUTBOX, origin=accepted.id))
        assert (await bench.run(later, OUTBOX)).call.origin == accepted.id


async def test_dead_between_a_retrys_row_and_its_last_word(bench, until):
    """The attempt and its wait are on record: it is not run before its time, and not counted as cut short."""
    async with bench.open() as later:
        async with bench.open() as queue:
            await queue.put(bench.call())
            lease = await bench.begin(queue)
            dead = dies_at(queue, lambda _, data: data.startswith(b"-NAK"))
            await queue.settle(lease, Verdict(move=Move.RETRY, wait=2, reason="status"), bench.failed)
            await until(lambda: dead)
            due = queue._context.clock() + 1.9
        again = await bench.take(later)
        assert later._context.clock() >= due - 0.2
        assert (again.attempt, again.crashed) == (2, False)


async def test_a_requeued_call_that_is_cut_short_runs_again(bench):
    """The row of its first end does not end it."""
    async with bench.open() as later:
        async with bench.open() as queue:
            accepted = await queue.put(bench.call())
            await queue.settle(await bench.begin(queue), bench.bury, bench.failed)
            await queue.requeue(accepted.id)
            await bench.begin(queue)
            dies_at(queue, lambda *_: True)
        again = await bench.take(later)
        assert (again.id, again.crashed, again.attempt) == (accepted.id, True, 2)


async def test_the_next_life_of_a_killed_daemon_goes_on_at_once(bench, until):
    """It does not wait for the ack wait: what it held is on record; what it had started counts as cut short."""
    slow = {"ack_wait": "60s"}
    async with bench.open("box", options=slow) as queue:
        ids = [(await queue.put(bench.call())).id for _ in range(3)]
        await bench.begin(queue)
        await until(lambda: queue._lanes.named[bench.lane].count == 2)
        await until(lambda: len(queue._recovery._written) == 3 and not queue._recovery._writing)
        dies_at(queue, lambda *_: True)
    async with bench.open("box", options=slow) as queue:
        got = [await bench.take(queue, within=5) for _ in range(3)]
        assert sorted(lease.id for lease in got) == ids
        assert {(lease.id, lease.attempt, lease.crashed) for lease in got if lease.crashed} == {
            (ids[0], 2, True)
        }


async def test_a_life_after_nothing(bench):
    """A file that is damaged, or names a life of which there is no record, is no obstacle."""
    for text in ("", "no name!", "abc123"):
        place = bench.directory / "box" / "queue"
        place.mkdir(parents=True, exist_ok=True)
        await trio.Path(place / "node").write_text(text)
        async with bench.open("box") as queue:
            await queue.put(bench.call())
            await bench.run(queue)


async def test_large_bodies_survive_the_death_of_a_daemon(bench):
    """They lie at the broker, not on the box that died."""
    from faasd_py.api import Spooled

    async with bench.open() as later:
        async with bench.open("dying") as queue:
            path = bench.directory / "dying" / "spool" / "body"
            await trio.Path(path).write_bytes(b"z" * 700_000)
            await queue.put(bench.call(body=Spooled(path=str(path), size=700_000)))
            await bench.begin(queue)
            dies_at(queue, lambda *_: True)
        again = await bench.take(later)
        assert await trio.Path(again.call.body.path).read_bytes() == b"z" * 700_000
        assert again.crashed


async def test_a_message_that_is_no_call_is_set_aside(bench, until):
    """Counted, kept among the dead letters, and not given out again and again."""
    async with bench.open() as queue:
        await queue.put(bench.call())
        await bench.run(queue)
        root = queue._context.names.root
        await queue._context.client.request(
            f"{root}.call.resize=2Eopenfaas-fn.10.-.nonsense", b"\xc1", timeout=5
        )
        await queue.put(bench.call())
        await bench.run(queue)
        await until(lambda: queue.stats().quarantined == 1)
        with trio.fail_after(5):
            while await bench.messages(queue, queue._context.names.calls):
                await trio.sleep(0.02)
        assert await bench.messages(queue, queue._context.names.dead) == 1


async def test_a_damaged_row_is_no_row(bench):
    """What cannot be read is as if it were not there."""
    async with bench.open() as queue:
        accepted = await queue.put(bench.call())
        names = queue._context.names
        await queue._context.publisher.publish(names.state_row(accepted.id), b"\xc1", within=5)
        await queue._context.publisher.publish(names.running("dead"), b"\xc1", within=5)
        await queue._context.publisher.publish(
            names.running("old"), rows.encode(rows.Journal("x", {1: 9})), within=5
        )
        assert (await queue.find(accepted.id)).state is State.READY
        async with bench.open() as other:
            lease = await bench.take(queue)
            await queue.settle(lease, Verdict(move=Move.RELEASE))
            assert (await other.find(accepted.id)).attempts == 0


async def test_idle_consumers_go_and_come_again(bench, until):
    """A lane that had nothing to do loses its consumer; its next call makes it again, on whichever daemon."""
    quick = {"poll_interval": "100ms", "idle_consumers": "300ms"}
    async with bench.open(options=quick) as one, bench.open(options=quick) as two:
        await one.put(bench.call())
        await bench.run(one)
        calls = one._context.names.calls
        with trio.fail_after(10):
            while await one._context.api.consumers(calls):
                await trio.sleep(0.05)
        await until(lambda: bench.lane not in one._lanes.named)
        accepted = await two.put(bench.call())
        assert (await bench.run(two)).id == accepted.id
        accepted = await one.put(bench.call())
        assert (await bench.run(one)).id == accepted.id


@pytest.mark.parametrize("lane", ["resize.openfaas-fn", "long" * 60])
async def test_a_call_for_later_wakes_a_lane_without_consumer(bench, lane):
    """Its lane was idle, or all daemons were away, until it was due; and what is dead or delayed there is counted."""
    import time

    quick = {"poll_interval": "100ms", "idle_consumers": "200ms"}
    async with bench.open(options=quick) as queue:
        accepted = await queue.put(bench.call(lane=lane, not_before=time.time() + 1.2))
        await queue._context.api.ask(
            f"CONSUMER.DELETE.{queue._context.names.calls}.{queue._lanes.named[lane].sources['10'].consumer}"
        )
    async with bench.open(options=quick) as queue:
        assert queue.stats().lanes[lane].delayed == 1
        lease = await bench.begin(queue, lane)
        assert lease.id == accepted.id
        await queue.settle(lease, bench.bury, bench.failed)
        await queue.flush()
        with trio.fail_after(10):
            while await queue._context.api.consumers(queue._context.names.calls):
                await trio.sleep(0.05)
    async with bench.open(options=quick) as queue:
        if len(lane) < 100:
            assert queue.stats().lanes[lane].dead == 1
        assert await queue.requeue(accepted.id) is State.DEAD
        assert (await bench.run(queue, lane)).id == accepted.id


async def test_a_consumer_that_somebody_deletes_is_made_again(bench):
    """Calls that wait for it are not forgotten."""
    async with bench.open(options={"poll_interval": "100ms"}) as queue:
        ids = [(await queue.put(bench.call())).id for _ in range(20)]
        await queue._context.api.ask(f"CONSUMER.DELETE.{queue._context.names.calls}.resize=2Eopenfaas-fn_10")
        got = {(await bench.run(queue)).id for _ in ids}
        assert got == set(ids)


async def test_priorities_have_consumers_of_their_own(bench):
    """Made when the first call of that priority comes; the rest of the path is the same."""
    async with bench.open() as queue:
        for priority in (0, 5, -5):
            await queue.put(bench.call(priority=priority))
        names = {info["name"] for info in await queue._context.api.consumers(queue._context.names.calls)}
        assert names == {f"resize=2Eopenfaas-fn_{text}" for text in ("05", "10", "15")}
        assert [(await bench.run(queue)).call.priority for _ in range(3)] == [5, 0, -5]


async def test_what_is_published(bench):
    """Subjects and headers of a call, one for later, one with a large body: other daemons and tools read them."""
    async with bench.open() as queue:
        api, names = queue._context.api, queue._context.names
        now = (await queue.put(bench.call(call_id="abc"))).id
        later = (await queue.put(bench.call(lane="a b", not_before=4e9, priority=3))).id
        large = (await queue.put(bench.call(lane="large", body=b"z" * 1_200_000))).id
        message = await api.last(names.calls, f"{names.root}.call.>")
        found = {
            subject: await api.last(names.calls, subject) for subject in await api.subjects(names.calls, ">")
        }
        by_id = {subject.rpartition(".")[2]: (subject, message) for subject, message in found.items()}
        subject, message = by_id[now]
        assert subject == f"{names.root}.call.resize=2Eopenfaas-fn.10.cf4ab791c62b8d2b.{now}"
        assert message.headers == {"Nats-Msg-Id": now}
        assert rows.decode_call(message.data) == bench.call(call_id="abc")
        subject, message = by_id[later]
        assert subject == f"{names.root}.later.a=20b.07.-.{later}"
        assert message.headers["Nats-Schedule"] == "@at 2096-10-02T07:06:40.000000Z"
        assert message.headers["Nats-Schedule-Target"] == f"{names.root}.call.a=20b.07.-.{later}"
        _, message = by_id[large]
        stored = rows.read_stored(message.headers["Faasd-Body"])
        assert (stored.size, stored.chunks, stored.whole) == (1_200_000, 10, True)
        assert rows.decode_call(message.data) == msgspec.structs.replace(bench.call(lane="large"), body=b"")
        objects = await api.subjects(f"OBJ_{names.bodies}", f"$O.{names.bodies}.C.*")
        assert objects == {f"$O.{names.bodies}.C.{stored.name}": 10}
