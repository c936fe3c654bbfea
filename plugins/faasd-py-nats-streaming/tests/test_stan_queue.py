"""What the queue does beyond the contract: redelivery, crashes, time, dead letters, limits, lanes and channels."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager

import msgspec
import pytest
import trio

from faasd_py.api import (
    BadOption,
    Call,
    IllegalMove,
    Move,
    Outcome,
    QueueFull,
    QueueUnavailable,
    Spool,
    Spooled,
    Verdict,
)
from faasd_py_nats_streaming import CAPABILITIES, opening, upkeep
from faasd_py_nats_streaming import journal as journals
from faasd_py_nats_streaming.channel import Channel
from faasd_py_nats_streaming.envelope import decode_dead
from faasd_py_nats_streaming.proto import CloseRequest

from .stan_ground import ANSWER, CALL, LANE, opened, site_of, take, until

DONE = Verdict(move=Move.DONE)
RETRY = Verdict(move=Move.RETRY, reason="status 500")
BURY = Verdict(move=Move.BURY, reason="attempts")
FAILED = Outcome(status=500, body=b"no")


def call(**fields):
    return msgspec.structs.replace(CALL, **fields)


async def begin(queue, lane=LANE):
    lease = await take(queue, lane)
    await queue.start(lease)
    return lease


async def forget_us(queue):
    """The server drops us as if we had died: what we held comes to whoever reads next."""
    session = queue._parts.session
    data = CloseRequest(clientID=session._options.client_id).SerializeToString()
    await session.nats.request(session._prefixes.closeRequests, data, timeout=5)


@asynccontextmanager
async def reader(queue, subject):
    """Whoever reads a channel from its beginning; gives the list that grows."""
    came = []
    channel = Channel(subject, came.append)
    await queue._parts.session.read(channel, needed=False)
    yield came
    queue._parts.session._channels.remove(channel)
    channel.forget()


async def publish(queue, data, subject=None):
    """As somebody else would."""
    session, options = queue._parts.session, queue._parts.options
    await session.publish(subject or options.subject, session.nats.new_inbox(), data).wait()


# redelivery


async def test_a_call_that_runs_longer_than_ack_wait_runs_once(tmp_path, shared_broker):
    """Delivered again while it runs, it is known by its sequence; it is acknowledged once, when it is done."""
    options = shared_broker.options(ack_wait="1s")
    async with opened(tmp_path, options) as queue:
        await queue.put(CALL)
        lease = await begin(queue)
        came = 0
        receive = queue._parts.channels._receive

        def count(intake, message):
            nonlocal came
            came += message.redelivered
            receive(intake, message)

        queue._parts.channels._receive = count
        await until(lambda: came >= 2)
        assert queue.lease_nowait(LANE) is None
        assert queue.stats().lanes[LANE].ready == 0
        await queue.settle(lease, DONE, ANSWER)
        await queue.flush()
        seen = came
        await trio.sleep(1.3)
        assert came == seen
        assert queue.lease_nowait(LANE) is None


async def test_waiting_calls_are_redelivered_without_effect(tmp_path, shared_broker):
    """Also those that nobody has begun, and those that wait for a retry."""
    async with opened(tmp_path, shared_broker.options(ack_wait="1s")) as queue:
        for _ in range(3):
            await queue.put(CALL)
        lease = await begin(queue)
        await queue.settle(lease, msgspec.structs.replace(RETRY, wait=1.5), FAILED)
        await trio.sleep(1.3)
        assert queue.stats().lanes[LANE].ready == 2
        got = [await begin(queue) for _ in range(3)]
        assert [one.attempt for one in got] == [1, 1, 2]
        assert queue.lease_nowait(LANE) is None


async def test_a_lost_ack_runs_nothing_again(tmp_path, shared_broker):
    """In this life and in the next, the call is known to be over, and only acknowledged."""
    options = shared_broker.options(ack_wait="1s")
    async with opened(tmp_path, options) as queue:
        await queue.put(CALL)
        lease = await begin(queue)
        channel = lease.token.intake.channel
        channel.ack, ack = lambda _: None, channel.ack
        await queue.settle(lease, DONE, ANSWER)
        await trio.sleep(1.2)
        assert queue.lease_nowait(LANE) is None
        channel.ack = ack
        await queue.put(call(body=b"2"))
        lease = await begin(queue)
        channel.ack = lambda _: None
        await queue.settle(lease, DONE, ANSWER)
    async with opened(tmp_path, options) as queue:
        await queue.put(call(body=b"3"))
        assert (await take(queue)).call.body == b"3"
        assert queue.lease_nowait(LANE) is None


async def test_a_put_that_was_published_twice_runs_once(tmp_path, shared_broker):
    """Known by its id, while it is held and after."""
    async with opened(tmp_path, shared_broker.options()) as queue:
        parts = queue._parts
        sent = []
        publish_ = parts.session.publish

        def twice(subject, token, data, ended=None):
            sent.append((subject, data))
            return publish_(subject, token, data, ended)

        parts.session.publish = twice
        await queue.put(CALL)
        subject, data = sent[0]
        await publish_(subject, "another-guid", data).wait()
        lease = await begin(queue)
        await queue.settle(lease, DONE, ANSWER)
        await publish_(subject, "a-third-guid", data).wait()
        await queue.put(call(body=b"next"))
        assert (await take(queue)).call.body == b"next"
        assert (await queue.flush()) is None
        assert queue.stats().lanes[LANE].ready == 0


async def test_a_retry_that_was_published_anew_replaces_the_old_one(tmp_path, shared_broker, monkeypatch):
    """A life that died between the publication and the ack leaves both: only the later one runs."""
    options = shared_broker.options(hold="0s")
    async with opened(tmp_path, options) as queue:
        accepted = await queue.put(CALL)
        lease = await begin(queue)
        queue._parts.publishing.again, again = None, queue._parts.publishing.again

        async def then_die(*arguments):
            await again(*arguments)
            await trio.sleep_forever()

        queue._parts.publishing.again = then_die
        await queue.settle(lease, msgspec.structs.replace(RETRY, wait=0.2), FAILED)
        await until(lambda: queue._parts.channels.intakes[queue._parts.options.later_subject].held)
        monkeypatch.setattr(opening, "LAST", 0.1)
    async with opened(tmp_path, options) as queue:
        await until(lambda: sum(len(one.held) for one in queue._parts.channels.intakes.values()) == 1)
        lease = await begin(queue)
        assert (lease.id, lease.attempt) == (accepted.id, 2)
        await queue.settle(lease, DONE, ANSWER)
        await trio.sleep(0.3)
        assert queue.lease_nowait(LANE) is None
        assert (queue._parts.counters.depth, len(queue._parts.held)) == (0, 0)


async def test_a_put_that_was_refused_does_not_run(tmp_path, make_broker):
    """Stored and never confirmed: its caller was told 503, so it is acknowledged and not run, also in the next life."""
    broker = make_broker("--mute-acks")
    options = broker.options(put_timeout="200ms")
    async with opened(tmp_path, options) as queue:
        queue._parts.channels._receive = lambda *_: None  # the delivery would prove that it is stored
        with pytest.raises(QueueUnavailable, match="did not confirm"):
            await queue.put(CALL)
        assert queue.stats().lanes[LANE].ready == queue.stats().bytes == 0
    async with opened(tmp_path, options) as queue:
        await queue.put(call(body=b"next"))
        assert (await take(queue)).call.body == b"next"
        assert queue.lease_nowait(LANE) is None


async def test_a_delivery_is_as_good_as_a_confirmation(tmp_path, make_broker):
    """The PubAck is lost, the call itself has come: it is stored."""
    broker = make_broker("--mute-acks")
    async with opened(tmp_path, broker.options(put_timeout="5s")) as queue:
        with trio.fail_after(2):
            accepted = await queue.put(CALL)
        assert (await take(queue)).id == accepted.id


# crashes


async def test_without_a_journal_each_delivery_counts(tmp_path, shared_broker):
    """Another machine, or an empty disk: a call that was delivered before may have killed its daemon."""
    options = shared_broker.options()
    async with opened(tmp_path / "one", options) as queue:
        await queue.put(CALL)
        await begin(queue)
    async with opened(tmp_path / "two", options) as queue:
        lease = await begin(queue)
        assert (lease.attempt, lease.crashed) == (2, True)
    async with opened(tmp_path / "three", options) as queue:
        lease = await begin(queue)
        assert (lease.attempt, lease.crashed) == (3, True)


async def test_with_a_journal_only_what_began_counts(tmp_path, shared_broker):
    """Delivered often and never begun: the first attempt is still to come."""
    options = shared_broker.options()
    async with opened(tmp_path, options) as queue:
        await queue.put(CALL)
        await take(queue)
    for _ in range(3):
        async with opened(tmp_path, options) as queue:
            lease = await take(queue)
            assert (lease.attempt, lease.crashed) == (1, False)


async def test_a_retry_keeps_its_time_and_its_number_through_a_restart(tmp_path, shared_broker):
    """Short ones by the journal, long ones by the message."""
    options = shared_broker.options(hold="500ms")
    begun = time.time()
    async with opened(tmp_path, options) as queue:
        await queue.put(call(body=b"short"))
        await queue.settle(await begin(queue), msgspec.structs.replace(RETRY, wait=0.5), FAILED)
        await queue.put(call(body=b"long"))
        await queue.settle(await begin(queue), msgspec.structs.replace(RETRY, wait=0.9), FAILED)
        await queue.flush()
        assert queue.stats().lanes[LANE].delayed == 2
    async with opened(tmp_path, options) as queue:
        for body, wait in ((b"short", 0.5), (b"long", 0.9)):
            lease = await take(queue)
            assert (lease.call.body, lease.attempt, lease.crashed) == (body, 2, False)
            assert time.time() - begun >= wait


# time


async def test_a_long_retry_leaves_its_place(tmp_path, shared_broker):
    """Published again, to the channel of what waits; the place among the others is free at once."""
    options = shared_broker.options(hold="0s", max_in_flight=1)
    async with opened(tmp_path, options) as queue:
        await queue.put(call(body=b"1"))
        await queue.put(call(body=b"2"))
        first = await begin(queue)
        assert queue.lease_nowait(LANE) is None
        await queue.settle(first, msgspec.structs.replace(RETRY, wait=0.3), FAILED)
        second = await begin(queue)
        assert second.call.body == b"2"
        again = await take(queue)
        assert (again.id, again.attempt, again.call.body) == (first.id, 2, b"1")
        await queue.settle(again, DONE, ANSWER)
        await queue.settle(second, DONE, ANSWER)
        await queue.flush()
        assert (queue._parts.counters.depth, queue._parts.counters.bytes) == (0, 0)


async def test_a_short_retry_keeps_its_place(tmp_path, shared_broker):
    """Nothing is published: it waits where it is."""
    async with opened(tmp_path, shared_broker.options(max_in_flight=1)) as queue:
        await queue.put(CALL)
        lease = await begin(queue)
        await queue.settle(lease, msgspec.structs.replace(RETRY, wait=0.1), FAILED)
        assert queue._parts.channels.intakes[queue._parts.options.later_subject].last == 0
        assert (await take(queue)).attempt == 2


async def test_delayed_calls_do_not_block_others(tmp_path, shared_broker):
    """They wait in their own channel, and so many at most."""
    async with opened(tmp_path, shared_broker.options(max_in_flight=2, max_delayed=5)) as queue:
        for _ in range(5):
            await queue.put(call(not_before=time.time() + 60))
        with pytest.raises(QueueFull, match="max_delayed"):
            await queue.put(call(not_before=time.time() + 60))
        for _ in range(10):
            await queue.put(CALL)
            await queue.settle(await begin(queue), DONE, ANSWER)
        assert queue.stats().lanes[LANE].delayed == 5


# dead letters and callbacks


async def test_a_dead_letter_is_in_its_channel(tmp_path, shared_broker):
    """With the call, the last answer, the attempts and the reason; the call itself is gone."""
    async with (
        opened(tmp_path, shared_broker.options()) as queue,
        reader(queue, queue._parts.options.dead_subject) as came,
    ):
        accepted = await queue.put(CALL)
        await queue.settle(await begin(queue), BURY, FAILED)
        await until(lambda: came)
        letter = decode_dead(came[0].data)
        assert (letter.id, letter.call, letter.outcome) == (accepted.id, CALL, FAILED)
        assert (letter.attempts, letter.reason) == (1, "attempts")
        await queue.flush()
        assert queue.lease_nowait(LANE) is None


async def test_a_dead_letter_that_is_too_large_goes_without_its_bodies(tmp_path, shared_broker):
    """First the answer's, then the request's."""
    async with (
        opened(tmp_path, shared_broker.options()) as queue,
        reader(queue, queue._parts.options.dead_subject) as came,
    ):
        await queue.put(call(body=b"x" * 900_000))
        lease = await begin(queue)
        await queue.settle(lease, BURY, Outcome(status=500, body=b"y" * 200_000, size=200_000))
        await until(lambda: came)
        letter = decode_dead(came[0].data)
        assert len(letter.call.body) == 900_000
        assert (letter.outcome.body, letter.outcome.complete, letter.outcome.size) == (b"", False, 200_000)


async def test_what_cannot_be_read_is_buried(tmp_path, shared_broker):
    """As it came, so that it blocks nobody; also in the next life it is not looked at again."""
    options = shared_broker.options()
    async with opened(tmp_path, options) as queue, reader(queue, queue._parts.options.dead_subject) as came:
        await publish(queue, b"\xff not a call")
        await queue.put(CALL)
        assert (await take(queue)).call == CALL
        await until(lambda: came)
        letter = decode_dead(came[0].data)
        assert (letter.raw, letter.reason, letter.call) == (b"\xff not a call", "unreadable", None)
    async with opened(tmp_path, options) as queue, reader(queue, queue._parts.options.dead_subject) as came:
        assert (await take(queue)).call == CALL
        await until(lambda: len(came) == 1)


async def test_a_callback_that_is_too_large_says_so(tmp_path, shared_broker):
    """It goes out, without the answer."""
    async with opened(tmp_path, shared_broker.options()) as queue:
        await queue.put(CALL)
        box = Call(lane="callback:box:80", headers=b"X-Call-Id: 1\r\n", body=b"z" * 1_100_000, origin="o")
        await queue.settle(await begin(queue), DONE, ANSWER, box)
        lease = await take(queue, "callback:box:80")
        assert lease.call.body == b""
        assert lease.call.headers == b"X-Call-Id: 1\r\nX-Function-Error: answer-too-large\r\n"
        assert lease.call.origin == "o"


async def test_callbacks_wait_for_the_server_and_then_go_out(tmp_path, broker):
    """Settled while it is away: the call is acknowledged after its callback is stored, and not before."""
    async with opened(tmp_path, broker.options(reconnect_wait="50ms")) as queue:
        await queue.put(CALL)
        lease = await begin(queue)
        broker.stan.kill()
        await queue.settle(lease, DONE, ANSWER, Call(lane="callback:box:80"))
        with pytest.raises(QueueUnavailable), trio.fail_after(5):
            queue._parts.options = msgspec.structs.replace(queue._parts.options, put_timeout=0.2)
            await queue.flush()
        broker.stan.start()
        assert (await take(queue, "callback:box:80")).attempt == 1
        queue._parts.options = msgspec.structs.replace(queue._parts.options, put_timeout=5)
        await queue.flush()
        assert queue.lease_nowait(LANE) is None


# bodies


async def test_a_large_body_travels_whole_and_lies_in_a_file_here(tmp_path, shared_broker):
    """Taken over from the caller, out again as a file, through a long retry too, and gone at the end."""
    options = shared_broker.options(hold="0s")
    site = site_of(tmp_path, options)
    async with opened(tmp_path, options) as queue:
        async with Spool(site.spool).writer() as writer:
            await writer.write(b"z" * 400_000)
            body = await writer.commit()
        await queue.put(call(body=body))
        lease = await begin(queue)
        await queue.settle(lease, msgspec.structs.replace(RETRY, wait=0.05), FAILED)
        lease = await begin(queue)
        assert isinstance(lease.call.body, Spooled)
        assert (lease.call.body.size, lease.attempt) == (400_000, 2)
        assert await trio.Path(lease.call.body.path).read_bytes() == b"z" * 400_000
        await queue.settle(lease, DONE, ANSWER)
        await queue.flush()
        assert [path for path in tmp_path.rglob("*") if path.is_file() and path.name != "journal"] == []


async def test_a_body_that_no_message_holds_is_refused(tmp_path, shared_broker):
    """By the capabilities before it is read, by the server's own limit after."""
    async with opened(tmp_path, shared_broker.options()) as queue:
        assert queue.capabilities.max_body == CAPABILITIES.max_body
        with pytest.raises(BadOption, match="too large"):
            await queue.put(call(body=b"z" * (1 << 20)))
        assert queue.stats().bytes == 0
        await queue.put(call(body=b"z" * CAPABILITIES.max_body))
        assert len((await take(queue)).call.body) == CAPABILITIES.max_body


# back-pressure and lanes


async def test_a_backlog_of_one_function_holds_up_others_only_until_it_moves(tmp_path, shared_broker):
    """One channel: no more than max_in_flight are in our hands; each that ends lets the next one in."""
    async with opened(tmp_path, shared_broker.options(max_in_flight=4)) as queue:
        for _ in range(6):
            await queue.put(CALL)
        await queue.put(call(lane="other.openfaas-fn"))
        await until(lambda: len(queue._parts.channels.intakes[queue._parts.options.subject].held) == 4)
        assert queue.stats().lanes[LANE].ready == 6
        assert queue.stats().lanes["other.openfaas-fn"].ready == 1
        assert queue.lease_nowait("other.openfaas-fn") is None
        for _ in range(3):
            await queue.settle(await begin(queue), DONE, ANSWER)
        assert (await take(queue, "other.openfaas-fn")).attempt == 1


async def test_a_channel_for_each_function_has_no_such_limit(tmp_path, shared_broker):
    """And the channels are found again in the next life, by another machine too."""
    options = shared_broker.options(max_in_flight=2, subject_per_function=True)
    async with opened(tmp_path / "one", options) as queue:
        for _ in range(5):
            await queue.put(CALL)
        await queue.put(call(lane="other.openfaas-fn"))
        assert (await take(queue, "other.openfaas-fn")).attempt == 1
        assert (await take(queue)).attempt == 1
        await queue.put(call(lane="callback:host:80"))
        assert (await take(queue, "callback:host:80")).attempt == 1
    async with opened(tmp_path / "two", options) as queue:
        assert (await take(queue, "other.openfaas-fn")).call.lane == "other.openfaas-fn"
        assert (await take(queue)).call.lane == LANE


async def test_functions_that_find_no_channel_share_one(tmp_path, make_broker):
    """The server's max_channels is reached: slower lanes, and no error."""
    broker = make_broker("--max-channels", "5")
    async with opened(tmp_path, broker.options(subject_per_function=True)) as queue:
        lanes = [f"f{n}.openfaas-fn" for n in range(4)]
        for lane in lanes:
            await queue.put(call(lane=lane))
        for lane in lanes:
            assert (await take(queue, lane)).call.lane == lane
        assert len(queue._parts.channels.intakes) == 4


async def test_many_lanes_each_get_their_calls(tmp_path, shared_broker):
    """Hundreds of calls over dozens of functions through one small window."""
    async with opened(tmp_path, shared_broker.options(max_in_flight=8)) as queue:
        ran = {}

        async def serve():
            while True:
                lane = await queue.next_lane()
                while (lease := queue.lease_nowait(lane)) is not None:
                    await queue.start(lease)
                    ran[lease.call.body] = lane
                    await queue.settle(lease, DONE, ANSWER)
                queue.leave(lane)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(serve)
            for number in range(200):
                await queue.put(call(lane=f"f{number % 30}.openfaas-fn", body=b"%d" % number))
            await until(lambda: len(ran) == 200)
            nursery.cancel_scope.cancel()
        assert all(lane == f"f{int(body) % 30}.openfaas-fn" for body, lane in ran.items())
        assert queue._parts.counters.depth == 0


# the server's limits


async def test_calls_are_refused_before_the_server_drops_old_ones(tmp_path, make_broker):
    """Near the channel's limit, counted from the oldest call in our hands; free again when that is done."""
    broker = make_broker("--max-msgs", "100")
    options = broker.options(channel_max_msgs=100, max_in_flight=1000)
    async with opened(tmp_path, options) as queue:
        with pytest.raises(QueueFull, match="drops its oldest"):
            for _ in range(93):
                await queue.put(CALL)
            await until(queue.trouble)
            await queue.put(CALL)
        assert queue.trouble()
        held = queue.stats().lanes[LANE].ready
        assert 90 <= held <= 100
        ran = {(await begin(queue)).token for _ in range(held)}
        assert len(ran) == held
        for entry in ran:
            await queue.settle(entry.lease, DONE, ANSWER)
        await until(lambda: queue.trouble() is None)
        await queue.put(CALL)


async def test_delayed_calls_are_published_anew_before_the_server_drops_them(tmp_path, make_broker):
    """Old ones in the channel of what waits go to its end; nothing is lost when the daemon dies then."""
    broker = make_broker("--max-msgs", "60")
    options = broker.options(channel_max_msgs=60, hold="0s")
    async with opened(tmp_path, options) as queue:
        late = await queue.put(call(not_before=time.time() + 4, body=b"late"))
        for _ in range(75):
            await queue.put(call(body=b"busy"))
            await queue.settle(await begin(queue), msgspec.structs.replace(RETRY, wait=0.001), FAILED)
            lease = await begin(queue)
            assert lease.call.body == b"busy"
            await queue.settle(lease, DONE, ANSWER)
            await trio.sleep(0.03)
        assert queue._parts.channels.intakes[queue._parts.options.later_subject].last > 75
    async with opened(tmp_path, options) as queue:
        lease = await take(queue)
        assert (lease.id, lease.call.body) == (late.id, b"late")


async def test_messages_that_the_server_dropped_are_told(tmp_path, make_broker, caplog, monkeypatch):
    """Nobody can bring them back, but somebody should know."""
    monkeypatch.setattr(upkeep, "QUIET", 1)
    broker = make_broker("--max-msgs", "5")
    options = broker.options(max_in_flight=2, ack_wait="1s")
    async with opened(tmp_path, options) as queue:
        for _ in range(20):
            await queue.put(CALL)
        for _ in range(7):
            await queue.settle(await begin(queue), DONE, ANSWER)
        await until(lambda: "13 messages never came" in caplog.text, within=20)
        await until(lambda: queue._parts.counters.depth == 0, within=20)


# several daemons


async def test_two_daemons_share_a_group(tmp_path, shared_broker, monkeypatch):
    """Each call runs at one of them; a figure of what others took does not grow for ever."""
    monkeypatch.setattr(upkeep, "QUIET", 1)
    options = shared_broker.options(shared=True, max_in_flight=4)
    other = options | {"client_id": f"{options['client_id']}-b"}
    async with opened(tmp_path / "a", options) as one, opened(tmp_path / "b", other) as two:
        ran = {one: [], two: []}

        async def serve(queue):
            while True:
                lease = await begin(queue)
                await trio.sleep(0.001)
                with trio.CancelScope(shield=True):
                    await queue.settle(lease, DONE, ANSWER)
                ran[queue].append(lease.id)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve, one)
            nursery.start_soon(serve, two)
            ids = [(await one.put(CALL)).id for _ in range(100)]
            await until(lambda: len(ran[one]) + len(ran[two]) == 100)
            nursery.cancel_scope.cancel()
        assert sorted(ran[one] + ran[two]) == sorted(ids)
        assert ran[one]
        assert ran[two]
        await until(lambda: one._parts.counters.depth == 0, within=20)


async def test_what_a_daemon_held_when_it_died_goes_to_the_other(tmp_path, shared_broker):
    """Counted as an attempt that a crash cut short: it may have been."""
    options = shared_broker.options(shared=True)
    other = options | {"client_id": f"{options['client_id']}-b"}
    async with opened(tmp_path / "a", options) as one:
        await one.put(CALL)
        await begin(one)
        async with opened(tmp_path / "b", other) as two:
            await forget_us(one)
            lease = await take(two)
            assert (lease.attempt, lease.crashed) == (2, True)


# trouble


async def test_trouble_comes_and_goes(tmp_path, broker):
    """Server, NATS, both: puts are refused at once, what is held can be worked on, and all is well again by itself."""
    async with opened(tmp_path, broker.options(ping_interval="100ms", reconnect_wait="50ms")) as queue:
        await queue.put(call(body=b"1"))
        await queue.put(call(body=b"2"))
        lease = await begin(queue)
        for server in (broker.stan, broker.nats):
            server.kill()
            await until(lambda: queue.trouble() is not None)
            with trio.fail_after(2), pytest.raises(QueueUnavailable):
                await queue.put(CALL)
        await queue.settle(lease, DONE, ANSWER)
        second = await begin(queue)
        broker.nats.start()
        broker.stan.start()
        await until(lambda: queue.trouble() is None)
        await queue.settle(second, DONE, ANSWER)
        await queue.put(call(body=b"3"))
        assert (await take(queue)).call.body == b"3"
        await queue.flush()
        assert queue.lease_nowait(LANE) is None


async def test_it_opens_without_a_broker_and_says_so(tmp_path, broker, monkeypatch):
    """The daemon starts: it refuses calls with the reason, and takes them when the broker is there."""
    monkeypatch.setattr(opening, "FIRST", 0.2)
    broker.stop()
    async with opened(tmp_path, broker.options(reconnect_wait="50ms")) as queue:
        assert queue.trouble()
        with pytest.raises(QueueUnavailable):
            await queue.put(CALL)
        broker.start()
        await until(lambda: queue.trouble() is None)
        await queue.put(CALL)
        assert (await take(queue)).call == CALL


async def test_a_journal_that_cannot_be_written_stops_attempts(tmp_path, shared_broker):
    """An attempt that would not count if it killed us does not begin; what is settled is settled."""
    async with opened(tmp_path, shared_broker.options()) as queue:
        await queue.put(CALL)
        await queue.put(CALL)
        lease, other = await take(queue), await begin(queue)
        journal = queue._parts.journal

        def broken(_line):
            raise OSError(28, "No space left on device")

        journal._append, append = broken, journal._append
        with pytest.raises(QueueUnavailable, match="the journal cannot be written"):
            await queue.start(lease)
        assert queue.trouble()
        await queue.settle(other, DONE, ANSWER)
        await queue.settle(lease, Verdict(move=Move.RELEASE))
        with pytest.raises(IllegalMove):
            await queue.settle(lease, DONE)
        journal._append = append
        again = await begin(queue)
        assert again.attempt == 1
        assert queue.trouble() is None


async def test_the_journal_stays_small(tmp_path, shared_broker, monkeypatch):
    """Written anew when it has grown, with what is in our hands."""
    monkeypatch.setattr(journals, "LARGE", 50_000)
    async with opened(tmp_path, shared_broker.options()) as queue:
        await queue.put(CALL)
        lease = await begin(queue)
        journal = queue._parts.journal
        while not journal.large:
            journal.started(("calls", 1, 1), 1)
        await until(lambda: not journal.large)
        assert journal.path.stat().st_size < 10_000
        assert lease.token.attempts == 1
    async with opened(tmp_path, shared_broker.options(subject=queue._parts.options.subject)) as queue:
        again = await take(queue)
        assert (again.attempt, again.crashed) == (2, True)


async def test_what_stan_cannot_do_is_answered_with_nothing(tmp_path, shared_broker):
    """The daemon says 501 by the capabilities; asked all the same, nothing is made up."""
    from faasd_py.api import Filter

    async with opened(tmp_path, shared_broker.options()) as queue:
        accepted = await queue.put(CALL)
        for ask in (queue.cancel, queue.requeue, queue.forget, queue.find, queue.request, queue.result):
            assert await ask(accepted.id) is None
        assert list(await queue.records(Filter())) == []
        assert await queue.requeue_all(Filter()) == await queue.purge(Filter()) == 0
        able = queue.capabilities
        assert able.durable and able.delay and able.expiry
        assert not (able.priority or able.dedup or able.inspect or able.cancel or able.results or able.shared)
        for fields in ({"priority": 1}, {"idempotency_key": "k"}):
            with pytest.raises(BadOption):
                await queue.put(call(**fields))
