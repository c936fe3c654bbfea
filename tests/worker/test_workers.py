"""The life of a call in the workers' hands, on the virtual clock."""

from __future__ import annotations

import logging

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from faasd_py.config import WorkerSettings
from faasd_py.core.call import Call
from faasd_py.core.durations import Duration
from faasd_py.core.errors import FunctionUnavailable, QueueUnavailable
from faasd_py.core.lifecycle import Move, State
from faasd_py.core.outcome import Outcome
from faasd_py.core.retry import RetryPolicy
from faasd_py.http import fields
from tests.worker.fakes import QUICK, answers, changed, takes, wall


async def test_a_call_runs_and_is_done(shop, autojump_clock: MockClock):
    """The function gets the stored request with its call id, and the outcome is what it answered."""
    house = await shop()
    function = house.registry.add(answers(201, headers=b"X-Out: 1\r\n", body=b"answer"))
    entry = house.put(target=b"/a?b", headers=b"X-In: 1\r\n", body=b"question", host=b"h", call_id="mine")
    await house.queue.ended(entry)
    (seen,) = function.runtime.seen
    assert (seen.method, seen.target, seen.body, seen.length, seen.call_id) == (
        b"POST",
        b"/a?b",
        b"question",
        8,
        "mine",
    )
    assert seen.host == b"h"
    assert fields.get(seen.headers, b"x-in") == b"1"
    assert fields.get(seen.headers, b"x-call-id") == b"mine"
    assert fields.get(seen.headers, b"content-length") == b"8"
    assert fields.get(seen.headers, b"x-start-time").isdigit()
    (outcome,) = entry.outcomes
    assert (entry.state, outcome.status, outcome.body, outcome.size) == (State.DONE, 201, b"answer", 6)
    assert outcome.headers == b"X-Out: 1\r\n"
    assert outcome.complete
    assert outcome.internal is None


async def test_the_queue_s_id_is_the_call_id_of_who_gave_none(shop, autojump_clock: MockClock):
    """Every call has an X-Call-Id."""
    house = await shop()
    function = house.registry.add(answers(200))
    entry = house.put()
    await house.queue.ended(entry)
    assert function.runtime.seen[0].call_id == entry.id


async def test_retries_then_done(shop, autojump_clock: MockClock):
    """Two failures, waits of the back-off between, and the third attempt counts."""
    house = await shop()
    house.registry.add(answers(500, 503, 200), retry=QUICK)
    entry = house.put()
    start = trio.current_time()
    await house.queue.ended(entry)
    assert entry.end == (State.DONE, "")
    assert [one.move for one in entry.verdicts] == [Move.RETRY, Move.RETRY, Move.DONE]
    assert entry.attempts == 3
    assert trio.current_time() - start == pytest.approx(5 + 10)


async def test_attempts_used_up(shop, autojump_clock: MockClock):
    """The last failure buries, with its answer kept; metrics and events say so."""
    house = await shop()
    house.registry.add(answers(500), retry=QUICK)
    entry = house.put()
    await house.queue.ended(entry)
    assert entry.end == (State.DEAD, "attempts")
    assert entry.outcomes[-1].body == b"ok"
    assert house.metrics.dead_by == {("f.openfaas-fn", "attempts"): 1}
    assert house.metrics.attempts_by == {("f.openfaas-fn", 500): 3}
    assert [one["event"] for one in house.told] == [
        "call.started", "call.retry", "call.started", "call.retry", "call.started", "call.dead",
    ]  # fmt: skip


async def test_a_function_that_cannot_answer(shop, autojump_clock: MockClock):
    """FunctionUnavailable is a 502 of the platform, retried whatever the codes are."""

    async def down(invocation, reply):
        raise FunctionUnavailable("nobody is there")

    house = await shop()
    house.registry.add(down, retry=RetryPolicy(attempts=2, codes=frozenset({418})))
    entry = house.put()
    await house.queue.ended(entry)
    assert entry.end == (State.DEAD, "attempts")
    outcome = entry.outcomes[-1]
    assert (outcome.status, outcome.internal, outcome.body) == (502, "proxy", b"nobody is there\n")
    assert entry.attempts == 2


async def test_a_runtime_with_a_bug(shop, autojump_clock: MockClock, caplog):
    """An exception of a runtime is that attempt's 500, is logged, and the lane goes on."""
    broken = [True]

    async def bug(invocation, reply):
        if broken.pop():
            raise KeyError("bug")

    async def behave(invocation, reply):
        if broken:
            await bug(invocation, reply)
        await answers(200)(invocation, reply)

    house = await shop()
    function = house.registry.add(behave)
    entry = house.put()
    await house.queue.ended(entry)
    assert [one.status for one in entry.outcomes] == [500, 200]
    assert "KeyError" in caplog.text
    assert function.meter.inflight == 0


async def test_an_answer_that_breaks_off(shop, autojump_clock: MockClock):
    """A runtime that returns before the answer is complete has not answered: 502."""

    async def half(invocation, reply):
        await reply.start(200, b"Content-Length: 10\r\n", 10)
        await reply.write(b"half")

    house = await shop()
    house.registry.add(half, retry=RetryPolicy(attempts=1))
    entry = house.put()
    await house.queue.ended(entry)
    assert (entry.outcomes[-1].status, entry.outcomes[-1].internal) == (502, "proxy")


async def test_an_internal_error_inside_the_function(shop, autojump_clock: MockClock):
    """X-OpenFaaS-Internal of a watchdog is on record, and makes a 403 retryable."""
    house = await shop()
    house.registry.add(answers(403, 200, headers=b"X-OpenFaaS-Internal: of-watchdog\r\n"), retry=QUICK)
    entry = house.put()
    await house.queue.ended(entry)
    assert [one.internal for one in entry.outcomes] == ["of-watchdog", None]


async def test_exec_timeout(shop, autojump_clock: MockClock):
    """An attempt is stopped at its deadline, answers as the function's timeout answer says, and is retried."""
    house = await shop()
    function = house.registry.add(takes(100), exec_timeout=Duration(7), retry=RetryPolicy(attempts=2))
    entry = house.put()
    start = trio.current_time()
    await house.queue.ended(entry)
    assert trio.current_time() - start == pytest.approx(7 + 5 + 7)
    assert function.runtime.cancelled == 2
    outcome = entry.outcomes[-1]
    assert (outcome.status, outcome.body, outcome.internal) == (504, b"too slow", "proxy")
    assert b"Content-Length" not in outcome.headers
    assert outcome.duration == pytest.approx(7)
    assert list(function.meter.rows) == [504]
    assert function.meter.inflight == 0


@pytest.mark.parametrize(("exec_timeout", "asked", "expected"), [(60, 2, 2), (3, 50, 3), (0, 4, 4)])
async def test_x_timeout_shortens(shop, autojump_clock: MockClock, exec_timeout, asked, expected):
    """The shorter of the function's and the call's counts; 0 is none."""
    house = await shop()
    house.registry.add(takes(1000), exec_timeout=Duration(exec_timeout), retry=RetryPolicy(attempts=1))
    entry = house.put(timeout=asked)
    start = trio.current_time()
    await house.queue.ended(entry)
    assert trio.current_time() - start == pytest.approx(expected)


async def test_no_timeout(shop, autojump_clock: MockClock):
    """With exec_timeout 0 an attempt may take a week."""
    house = await shop()
    house.registry.add(takes(7 * 86400), exec_timeout=Duration(0))
    entry = house.put()
    await house.queue.ended(entry)
    assert entry.state is State.DONE


async def test_deadlines_in_any_order(shop, autojump_clock: MockClock):
    """A short deadline set after long ones is kept to, and the long ones still are afterwards."""
    house = await shop()
    house.registry.add(takes(1000), exec_timeout=Duration(100), retry=RetryPolicy(attempts=1))
    slow, quick, middle = house.put(), house.put(timeout=1), house.put(timeout=50)
    ends = {}
    async with trio.open_nursery() as nursery:
        for entry in (slow, quick, middle):

            async def watch(entry=entry):
                await house.queue.ended(entry)
                ends[entry.id] = round(trio.current_time(), 3)

            nursery.start_soon(watch)
    assert ends == {quick.id: 1.0, middle.id: 50.0, slow.id: 100.0}


async def test_an_unknown_function(shop, autojump_clock: MockClock):
    """A lane without its function answers 404 for the platform and waits; deployed in time, the call runs."""
    house = await shop()
    entry = house.put("later")
    await house.queue.until(lambda: entry.outcomes)
    assert (entry.outcomes[0].status, entry.outcomes[0].internal) == (404, "proxy")
    assert entry.state is State.DELAYED
    house.registry.add(answers(200), name="later")
    await house.queue.ended(entry)
    assert entry.state is State.DONE


async def test_a_changed_policy_is_heeded(shop, autojump_clock: MockClock):
    """New settings take effect on the next attempt."""
    house = await shop()
    function = house.registry.add(answers(404), retry=RetryPolicy(attempts=2, codes=frozenset({404})))
    dead = house.put()
    await house.queue.ended(dead)
    assert (dead.end, dead.attempts) == ((State.DEAD, "attempts"), 2)
    function.settings = changed(function.settings, retry=RetryPolicy())
    done = house.put()
    await house.queue.ended(done)
    assert done.state is State.DONE


async def test_expired_is_not_run(shop, autojump_clock: MockClock):
    """Past its expiry a call is dead without an attempt."""
    house = await shop()
    function = house.registry.add(answers(200))
    entry = house.put(expires_at=wall())
    await house.queue.ended(entry)
    assert entry.end == (State.DEAD, "expired")
    assert not entry.started
    assert function.runtime.seen == []
    assert house.metrics.attempts_by == {}


@pytest.mark.parametrize(("on_crash", "end"), [(True, State.DONE), (False, State.DEAD)])
async def test_after_a_crash(shop, autojump_clock: MockClock, on_crash, end):
    """What a crash interrupted runs again, unless it must not."""
    house = await shop()
    house.registry.add(answers(200))
    entry = house.queue.put_nowait(Call(lane="f.openfaas-fn", on_crash=on_crash))
    entry.crashed, entry.attempts = True, 1
    await house.queue.ended(entry)
    assert entry.state is end
    assert end is State.DONE or entry.end == (State.DEAD, "interrupted")


async def test_a_poisonous_call(shop, autojump_clock: MockClock):
    """A call whose every attempt took the daemon with it is given up."""
    house = await shop()
    house.registry.add(answers(200), retry=QUICK)
    entry = house.put()
    entry.crashed, entry.attempts = True, 3
    await house.queue.ended(entry)
    assert entry.end == (State.DEAD, "attempts")


async def test_many_at_once_and_no_more(shop, autojump_clock: MockClock):
    """A function's limit holds, and is used; workers are kept and used again."""
    house = await shop(workers={"function_max_inflight": 5})
    function = house.registry.add(takes(1))
    entries = [house.put() for _ in range(23)]
    await house.queue.ended(*entries)
    assert function.runtime.most == 5
    assert trio.current_time() == pytest.approx(5, abs=0.1)
    assert len(house.workers._lanes["f.openfaas-fn"].workers) <= 5


async def test_the_house_s_limit(shop, autojump_clock: MockClock):
    """All functions together stay within [workers] max_inflight."""
    house = await shop(workers={"max_inflight": 3})
    functions = [house.registry.add(takes(1), name=name) for name in "abc"]
    entries = [house.put(name) for name in "abc" for _ in range(4)]
    running = []

    async def sample():
        while True:
            running.append(sum(one.runtime.now for one in functions))
            await trio.sleep(0.5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample)
        await house.queue.ended(*entries)
        nursery.cancel_scope.cancel()
    assert max(running) == 3
    assert trio.current_time() == pytest.approx(4, abs=0.1)


async def test_lanes_take_turns(shop, autojump_clock: MockClock):
    """With one slot, two lanes with a backlog and a newcomer are served alternately."""
    order = []

    def noting(name):
        async def behave(invocation, reply):
            order.append(name)
            await takes(1)(invocation, reply)

        return behave

    house = await shop(workers={"max_inflight": 1})
    for name in "abc":
        house.registry.add(noting(name), name=name)
    entries = [house.put(name) for name in "ab" for _ in range(20)]
    await trio.sleep(4.5)
    late = house.put("c")
    await house.queue.ended(late)
    assert order.index("c") <= 7, "five had begun; the newcomer waits for one turn of each other lane"
    await house.queue.ended(*entries)
    pairs = order[:4]
    assert pairs in (list("abab"), list("baba"))


async def test_a_slow_lane_holds_up_nobody(shop, autojump_clock: MockClock):
    """A function that hangs has its own limit; others run."""
    house = await shop()
    house.registry.add(takes(1000), name="slow", max_inflight=2, exec_timeout=Duration(0))
    house.registry.add(answers(200), name="quick")
    for _ in range(30):
        house.put("slow")
    entries = [house.put("quick") for _ in range(30)]
    await house.queue.ended(*entries)
    assert trio.current_time() < 1


async def test_429_narrows_the_lane(shop, autojump_clock: MockClock):
    """Refusals halve what runs at once; successes bring it back."""
    now, most = [0], [0]

    async def limited(invocation, reply):
        now[0] += 1
        most[0] = max(most[0], now[0])
        over = now[0] > 2
        await trio.sleep(1)
        now[0] -= 1
        await answers(429 if over else 200)(invocation, reply)

    house = await shop()
    policy = RetryPolicy(attempts=50, min_wait=Duration(1), max_wait=Duration(1))
    house.registry.add(limited, retry=policy)
    entries = [house.put() for _ in range(40)]
    sizes = []

    async def sample():
        while True:
            await trio.sleep(1)
            sizes.append(house.workers._lanes["f.openfaas-fn"].window.size)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(sample)
        await house.queue.ended(*entries)
        nursery.cancel_scope.cancel()
    assert most[0] == 8
    assert sorted(sizes)[len(sizes) // 2] <= 4
    assert {one.state for one in entries} == {State.DONE}


async def test_ordered(shop, autojump_clock: MockClock):
    """Strictly one at a time, and the next call waits while the one before it waits for its retry."""
    seen = []

    async def behave(invocation, reply):
        seen.append(invocation.body)
        again = invocation.body == b"2" and seen.count(b"2") < 3
        await takes(1, answers(500 if again else 200))(invocation, reply)

    house = await shop()
    function = house.registry.add(behave, ordered=True, max_inflight=8)
    entries = [house.put(body=b"%d" % number) for number in range(5)]
    await house.queue.ended(*entries)
    assert seen == [b"0", b"1", b"2", b"2", b"2", b"3", b"4"]
    assert function.runtime.most == 1
    assert trio.current_time() == pytest.approx(7 + 5 + 10, abs=0.2)


async def test_ordered_waits_until_the_queue_has_the_call_back(shop, autojump_clock: MockClock):
    """A call that is to be tried again is at its place before the next lease, however long the disk is full."""
    house = await shop()
    policy = RetryPolicy(attempts=3, min_wait=Duration(0), max_wait=Duration(0))
    function = house.registry.add(answers(500, 200), ordered=True, retry=policy)
    house.queue.broken_flushes = [QueueUnavailable("disk full")] * 3
    entries = [house.put(), house.put()]
    await house.queue.ended(*entries)
    assert trio.current_time() == pytest.approx(3, abs=0.1)
    assert house.queue.flushes == 4
    assert [seen.call_id for seen in function.runtime.seen] == [entries[0].id, entries[0].id, entries[1].id]


async def test_ordered_gives_up_and_goes_on(shop, autojump_clock: MockClock):
    """A call that is dead makes way for the next."""
    house = await shop()
    house.registry.add(answers(500, 500, 500, 200), ordered=True, retry=QUICK)
    first, second = house.put(), house.put()
    await house.queue.ended(first, second)
    assert (first.state, second.state) == (State.DEAD, State.DONE)


async def test_cancel_a_running_call(shop, autojump_clock: MockClock):
    """By queue id: the attempt is stopped and the call is CANCELLED; the lane goes on."""
    house = await shop()
    function = house.registry.add(takes(50), max_inflight=1)
    entry, next_one = house.put(), house.put()
    await trio.sleep(1)
    assert not house.workers.cancel("nobody")
    assert house.workers.cancel(entry.id)
    await house.queue.ended(entry)
    assert trio.current_time() == pytest.approx(1, abs=0.01)
    assert entry.end == (State.CANCELLED, "cancelled")
    assert entry.outcomes == [None]
    assert not house.workers.cancel(entry.id)
    assert function.runtime.cancelled == 1
    await house.queue.ended(next_one)
    assert next_one.state is State.DONE
    assert list(function.meter.rows) == [499, 200]


async def test_cancel_by_call_id(shop, autojump_clock: MockClock):
    """An X-Call-Id that several running calls share stops them all, and no others."""
    house = await shop()
    house.registry.add(takes(50))
    same, other = [house.put(call_id="same") for _ in range(3)], house.put(call_id="other")
    await trio.sleep(1)
    assert {one.call_id for one in house.workers.running()} == {"same", "other"}
    assert house.workers.cancel("same")
    await house.queue.ended(*same, other)
    assert {one.state for one in same} == {State.CANCELLED}
    assert other.state is State.DONE


async def test_cancel_between_lease_and_attempt(shop, autojump_clock: MockClock):
    """A cancel that comes while the start is being recorded is heeded before the function is called."""
    house = await shop()
    function = house.registry.add(answers(200))
    gate = trio.Event()
    plain = house.queue.start

    async def slow_start(lease):
        await gate.wait()
        await plain(lease)

    house.queue.start = slow_start
    entry = house.put()
    await wait_all_tasks_blocked()
    assert house.workers.cancel(entry.id)
    gate.set()
    await house.queue.ended(entry)
    assert entry.state is State.CANCELLED
    assert function.runtime.seen == []


async def test_a_queue_that_cannot_start(shop, autojump_clock: MockClock):
    """QueueUnavailable from start hands the lease back, counts nothing, and the lane waits before it tries again."""
    house = await shop()
    function = house.registry.add(answers(200))
    house.queue.broken = [
        QueueUnavailable("disk full", retry_after=3),
        QueueUnavailable("disk full", retry_after=3),
    ]
    entry = house.put()
    await house.queue.ended(entry)
    assert [one.move for one in entry.verdicts] == [Move.RELEASE, Move.RELEASE, Move.DONE]
    assert entry.attempts == 1
    assert len(function.runtime.seen) == 1
    assert trio.current_time() == pytest.approx(6, abs=0.1)


@pytest.mark.parametrize("where", ["broken", "broken_settles", "broken_waits"])
async def test_a_lane_s_failure_is_its_own(shop, autojump_clock: MockClock, caplog, where):
    """Whatever the queue raises in one lane is logged; that lane goes on a little later, and others at once."""
    house = await shop()
    house.registry.add(answers(200), name="a")
    house.registry.add(answers(200), name="b")
    before = [house.put("b") for _ in range(3)]
    await house.queue.ended(*before)
    getattr(house.queue, where).extend([ValueError("surprise")] * 3)
    entries = [house.put("a") for _ in range(5)]
    await house.queue.ended(*entries)
    assert {one.state for one in entries} == {State.DONE}
    assert "surprise" in caplog.text
    others = [house.put("b") for _ in range(3)]
    await house.queue.ended(*others)
    for slots in (house.workers._pools.of(""), house.workers._delivery_slots):
        assert slots.used == 0
    assert house.workers.running() == []


async def test_idle_lanes_are_left(shop, autojump_clock: MockClock):
    """A lane without calls for a while costs nothing, and is served again when a call comes."""
    house = await shop()
    house.registry.add(answers(200))
    await house.queue.ended(house.put())
    await trio.sleep(60)
    assert house.workers._lanes == {}
    assert house.queue.served == set()
    assert house.messenger.tidied >= 3
    entry = house.put()
    await house.queue.ended(entry)
    assert entry.state is State.DONE


async def test_surplus_workers_go(shop, autojump_clock: MockClock):
    """After a rush the workers that nobody needs leave; the lane keeps what it uses."""
    house = await shop(workers={"function_max_inflight": 20})
    house.registry.add(takes(1))
    await house.queue.ended(*[house.put() for _ in range(20)])
    lane = house.workers._lanes["f.openfaas-fn"]
    assert len(lane.workers) == 20
    for _ in range(60):
        await house.queue.ended(house.put())
    assert len(lane.workers) <= 2


async def test_new_limits_at_once(shop, autojump_clock: MockClock):
    """A reload widens a lane that is full while its calls still run, and narrows it as they end."""
    house = await shop(workers={"max_inflight": 2, "function_max_inflight": 2})
    function = house.registry.add(takes(10))
    entries = [house.put() for _ in range(40)]
    await trio.sleep(1)
    assert function.runtime.now == 2
    house.workers.reconfigure(WorkerSettings(max_inflight=6, function_max_inflight=5))
    await trio.sleep(1)
    assert function.runtime.now == 5
    function.settings = changed(function.settings, max_inflight=6)
    house.workers.reconfigure(WorkerSettings(max_inflight=6, function_max_inflight=5))
    await trio.sleep(1)
    assert function.runtime.now == 6
    house.workers.reconfigure(WorkerSettings(max_inflight=1))
    await trio.sleep(20)
    assert function.runtime.now == 1
    house.workers.reconfigure(WorkerSettings(max_inflight=99))
    await house.queue.ended(*entries)


async def test_a_callback_is_delivered(shop, autojump_clock: MockClock):
    """The outcome goes to the receiver's lane with the settlement, and the messenger is given it once."""
    house = await shop()
    house.registry.add(answers(500, 200, headers=b"X-Out: 1\r\n", body=b"result"), retry=QUICK)
    entry = house.put(callback_url="http://hooks.lan:81/x", call_id="mine")
    await house.queue.ended(entry)
    await house.queue.until(lambda: house.messenger.sent)
    ((delivery_id, call),) = house.messenger.sent
    (delivery,) = house.queue.by_lane("callback:hooks.lan:81")
    await house.queue.ended(delivery)
    assert delivery_id == delivery.id
    assert (call.body, call.origin, call.target) == (b"result", entry.id, b"/x")
    expected = {b"x-out": b"1", b"x-call-id": b"mine", b"x-function-name": b"f", b"x-function-status": b"200",
                b"x-retry": b"1", b"x-retry-max": b"2"}  # fmt: skip
    assert {name: fields.get(call.headers, name) for name in expected} == expected
    assert house.metrics.callbacks_by == {"delivered": 1}


@pytest.mark.parametrize(
    ("status", "urls", "expected"),
    [
        (200, ("good", "bad"), "good"),
        (500, ("good", "bad"), "bad"),
        (404, ("good", "bad"), "bad"),
        (500, ("good", None), "good"),
        (200, (None, "bad"), None),
        (500, (None, "bad"), "bad"),
    ],
)
async def test_where_a_callback_goes(shop, autojump_clock: MockClock, status, urls, expected):
    """Failures go to the failure URL if there is one; without a URL nobody is told."""
    house = await shop()
    house.registry.add(answers(status), retry=RetryPolicy(attempts=1))
    good, bad = (None if name is None else f"http://{name}/" for name in urls)
    entry = house.put(callback_url=good, failure_url=bad)
    await house.queue.ended(entry)
    lanes = [one.call.lane for one in house.queue.by_lane("callback:")]
    assert lanes == ([] if expected is None else [f"callback:{expected}:80"])


@pytest.mark.parametrize(
    ("reason", "status"), [("expired", b"504"), ("interrupted", b"503"), ("attempts", b"503")]
)
async def test_the_callback_of_a_call_that_never_ran(shop, autojump_clock: MockClock, reason, status):
    """It says why, with an empty body."""
    house = await shop()
    house.registry.add(answers(200), retry=QUICK)
    fields_ = {"expires_at": wall()} if reason == "expired" else {"on_crash": reason != "interrupted"}
    entry = house.queue.put_nowait(Call(lane="f.openfaas-fn", callback_url="http://h/", **fields_))
    entry.crashed, entry.attempts = (reason != "expired"), {"attempts": 3, "interrupted": 1}.get(reason, 0)
    await house.queue.ended(entry)
    assert entry.end == (State.DEAD, reason)
    (delivery,) = house.queue.by_lane("callback:")
    assert delivery.call.body == b""
    assert fields.get(delivery.call.headers, b"x-function-error") == reason.encode()
    assert fields.get(delivery.call.headers, b"x-function-status") == status
    assert fields.get(delivery.call.headers, b"x-retry") == {"attempts": b"2"}.get(reason, b"0")


async def test_deliveries_are_tried_by_the_schedule(shop, autojump_clock: MockClock):
    """Each failure waits as the schedule says; after the last one the callback is dead, and the call stays done."""
    house = await shop(callback={"schedule": [Duration(5), Duration(100)]})
    house.registry.add(answers(200))

    async def fail(_):
        return Outcome(status=500)

    house.messenger.answer = fail
    entry = house.put(callback_url="http://h/")
    await house.queue.ended(entry)
    (delivery,) = house.queue.by_lane("callback:")
    await house.queue.ended(delivery)
    assert delivery.end == (State.DEAD, "callback")
    assert delivery.attempts == 3
    assert len({one for one, _ in house.messenger.sent}) == 1
    assert trio.current_time() == pytest.approx(105, abs=0.5)
    assert entry.state is State.DONE
    assert house.metrics.callbacks_by == {"retry": 2, "dead": 1}


async def test_a_messenger_with_a_bug(shop, autojump_clock: MockClock, caplog):
    """Its exception is a failed delivery, and no more."""
    house = await shop(callback={"schedule": []})

    async def bug(_):
        raise KeyError("bug")

    house.messenger.answer = bug
    house.registry.add(answers(200))
    await house.queue.ended(house.put(callback_url="http://h/"))
    (delivery,) = house.queue.by_lane("callback:")
    await house.queue.ended(delivery)
    assert delivery.end == (State.DEAD, "callback")
    assert "KeyError" in caplog.text


async def test_receivers_who_hang_hold_up_no_function(shop, autojump_clock: MockClock):
    """Deliveries have slots of their own."""
    house = await shop(workers={"max_inflight": 1})
    house.registry.add(answers(200))

    async def hang(_):
        await trio.sleep(10_000)
        return Outcome(status=200)

    house.messenger.answer = hang
    entries = [house.put(callback_url=f"http://h{number}/") for number in range(20)]
    await house.queue.ended(*entries)
    assert trio.current_time() < 1
    await house.queue.until(lambda: len(house.messenger.sent) == 20)


async def test_a_large_answer_is_spooled_for_its_callback(shop, tmp_path, clock=None):
    """Over max_result the record keeps no body, and the callback has all of it in a file."""
    house = await shop(limits={"max_result": 10})
    pieces = [b"12345"] * 5

    async def stream(invocation, reply):
        await reply.start(200, b"", None)
        for piece in pieces:
            await reply.write(piece)
        await reply.end()

    house.registry.add(stream)
    entry, plain = house.put(callback_url="http://h/"), house.put()
    await house.queue.ended(entry, plain)
    (delivery,) = house.queue.by_lane("callback:")
    for one in (entry, plain):
        outcome = one.outcomes[-1]
        assert (outcome.body, outcome.size, outcome.complete) == (b"", 25, False)
    body = delivery.call.body
    assert body.size == 25
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"12345" * 5]


async def test_a_retried_answer_leaves_no_file(shop, tmp_path):
    """A large answer that is not the last is dropped."""
    house = await shop(limits={"max_result": 10})
    house.registry.add(answers(500, body=b"x" * 100), retry=RetryPolicy(attempts=9))
    entry = house.put(callback_url="http://h/")
    await house.queue.until(lambda: entry.verdicts)
    assert entry.verdicts[0].move is Move.RETRY
    assert list(tmp_path.iterdir()) == []


async def test_an_answer_larger_than_anybody_keeps(shop, tmp_path):
    """Over max_answer the callback says so and has no body; nothing stays behind."""
    house = await shop(limits={"max_result": 10}, max_answer=50)
    house.registry.add(answers(200, body=b"x" * 51))
    entry = house.put(callback_url="http://h/")
    await house.queue.ended(entry)
    (delivery,) = house.queue.by_lane("callback:")
    assert delivery.call.body == b""
    assert fields.get(delivery.call.headers, b"x-function-error") == b"answer-too-large"
    assert entry.outcomes[-1].size == 51
    assert list(tmp_path.iterdir()) == []


async def test_a_cancelled_attempt_leaves_no_file(shop, tmp_path):
    """What was spooled of an answer that was cut off is removed."""
    house = await shop(limits={"max_result": 10})
    begun = trio.Event()

    async def stream(invocation, reply):
        await reply.start(200, b"", None)
        await reply.write(b"x" * 100)
        begun.set()
        await trio.sleep_forever()

    house.registry.add(stream)
    entry = house.put(callback_url="http://h/")
    await begun.wait()
    assert len(list(tmp_path.iterdir())) == 1
    house.workers.cancel(entry.id)
    await house.queue.ended(entry)
    assert list(tmp_path.iterdir()) == []
    assert house.queue.by_lane("callback:") == []


async def test_a_spooled_request(shop, tmp_path):
    """A large request body is streamed to the function from its file."""
    house = await shop()
    got = []

    async def read(invocation, reply):
        assert invocation.body is None
        while piece := await invocation.source.read():
            got.append(piece)
        await answers(200)(invocation, reply)

    function = house.registry.add(read)
    async with house.workers._call_context.spool.writer() as writer:
        await writer.write(b"y" * 600_000)
        body = await writer.commit()
    await house.queue.ended(house.put(body=body))
    assert function.runtime.seen[0].length == 600_000
    assert sum(map(len, got)) == 600_000


async def test_lines_in_the_log(shop, autojump_clock: MockClock, caplog):
    """A dead call is one warning that names the call, the function and the reason."""
    caplog.set_level(logging.INFO)
    house = await shop()
    house.registry.add(answers(500), retry=RetryPolicy(attempts=1))
    entry = house.put()
    await house.queue.ended(entry)
    (line,) = [one.getMessage() for one in caplog.records if one.name == "faasd_py.worker"]
    assert line == f"call {entry.id} of f.openfaas-fn is dead: attempts"
