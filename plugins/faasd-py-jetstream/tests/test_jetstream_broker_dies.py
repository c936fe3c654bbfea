"""The broker is killed, restarted, stopped, cut off, or loses a server: nothing that was accepted is lost."""

from __future__ import annotations

import random
from contextlib import asynccontextmanager

import pytest
import trio

from faasd_py.api import QueueError, QueueUnavailable, State
from faasd_py_natsclient import connect
from faasd_py_natsclient.testing import open_cluster, open_server

pytestmark = pytest.mark.usefixtures("nats")


async def put_on(bench, queue, accepted: list[str], pause: float = 0.001) -> None:
    """Put calls until cancelled; write down those that were accepted."""
    while True:
        try:
            with trio.CancelScope(shield=True):
                accepted.append((await queue.put(bench.call())).id)
        except QueueError:
            await trio.sleep(0.02)
        await trio.sleep(pause)


@asynccontextmanager
async def under_load(bench, queue, accepted, ran, producers=4, workers=4):
    """Calls are put and run beside the block."""
    async with trio.open_nursery() as workers_nursery:
        for _ in range(workers):
            workers_nursery.start_soon(bench.work, queue, ran)
        async with trio.open_nursery() as nursery:
            for _ in range(producers):
                nursery.start_soon(put_on, bench, queue, accepted)
            yield
            nursery.cancel_scope.cancel()
        with trio.fail_after(40):
            while set(accepted) - set(ran):
                await trio.sleep(0.02)
        workers_nursery.cancel_scope.cancel()


async def test_kill_9_of_the_broker_under_load(bench_on, tmp_path, until):
    """Three times, in the middle of puts and settles: every acknowledged put runs."""
    dice = random.Random(4)
    async with open_server(tmp_path / "nats", jetstream=True) as server:
        bench = bench_on(server.url)
        accepted, ran = [], []
        async with bench.open() as queue:
            async with under_load(bench, queue, accepted, ran):
                for _ in range(3):
                    await trio.sleep(dice.uniform(0.1, 0.4))
                    await server.kill()
                    await until(lambda: queue.trouble() is not None)
                    await server.start()
                    count = len(accepted)
                    await until(lambda count=count: len(accepted) > count + 10)
            assert queue.trouble() is None
        print(f"{len(accepted)} accepted, {len(ran)} ran, {len(ran) - len(set(ran))} of them again")
        assert set(accepted) <= set(ran)


async def test_a_restart_of_the_broker_keeps_everything(bench_on, tmp_path):
    """Waiting, delayed, dead and finished calls, keys and results."""
    async with open_server(tmp_path / "nats", jetstream=True) as server:
        bench = bench_on(server.url)
        async with bench.open() as queue:
            done = await queue.put(bench.call())
            await bench.run(queue)
            dead = await queue.put(bench.call())
            await queue.settle(await bench.begin(queue), bench.bury, bench.failed)
            later = await queue.put(bench.call(not_before=4e9))
            keyed = await queue.put(bench.call(lane="other", idempotency_key="k", fingerprint=b"1"))
            await queue.flush()
            await server.terminate()
            await server.start()
            await queue._context.client.wait_connected()
            assert (await queue.find(done.id)).state is State.DONE
            assert (await queue.find(dead.id)).state is State.DEAD
            assert (await queue.find(later.id)).state is State.DELAYED
            assert await queue.result(done.id) == bench.answer
            assert (
                await queue.put(bench.call(lane="other", idempotency_key="k", fingerprint=b"1"))
            ).id == keyed.id
            assert (await bench.run(queue, "other")).id == keyed.id


async def test_without_a_broker_puts_say_so(bench_on, tmp_path, until):
    """QueueUnavailable within the put timeout, and trouble() in one sentence; by itself it is well again."""
    async with open_server(tmp_path / "nats", jetstream=True) as server:
        bench = bench_on(server.url)
        async with bench.open(options={"put_timeout": "500ms"}) as queue:
            await queue.put(bench.call())
            await server.kill()
            await until(lambda: queue.trouble() is not None)
            assert "no connection to a NATS server" in queue.trouble()
            with trio.fail_after(3), pytest.raises(QueueUnavailable, match="no connection"):
                await queue.put(bench.call())
            await server.start()
            await until(lambda: queue.trouble() is None)
            await queue.put(bench.call())
            assert (await bench.run(queue)).attempt == 1


async def test_a_broker_that_stands_still(bench_on, tmp_path, until):
    """Connected, but nothing answers: 503, and afterwards each call is there once."""
    async with open_server(tmp_path / "nats", jetstream=True) as server:
        bench = bench_on(server.url)
        async with bench.open(options={"put_timeout": "700ms", "ack_wait": "5s"}) as queue:
            first = await queue.put(bench.call())
            await bench.begin(queue)
            server.pause()
            with pytest.raises(QueueUnavailable):
                await queue.put(bench.call())
            assert queue.trouble() is not None
            server.resume()
            await until(lambda: queue.trouble() is None)
            lease = await bench.take(queue)
            assert lease.id != first.id
            with trio.move_on_after(0.5):
                await queue.wait_ready(bench.lane)
            assert queue.lease_nowait(bench.lane) is None


async def test_a_settlement_waits_for_the_broker(bench_on, tmp_path):
    """Settle does not raise while the broker is away; flush does; and later it is done."""
    async with open_server(tmp_path / "nats", jetstream=True) as server:
        bench = bench_on(server.url)
        async with bench.open(options={"put_timeout": "300ms"}) as queue:
            accepted = await queue.put(bench.call())
            lease = await bench.begin(queue)
            await server.kill()
            callback = bench.call(lane="callback:box:80", origin=accepted.id)
            await queue.settle(lease, bench.done, bench.answer, callback)
            assert (await queue.find(accepted.id)).state is State.DONE
            with pytest.raises(QueueUnavailable):
                await queue.flush()
            await server.start()
            assert (await bench.run(queue, "callback:box:80")).call.origin == accepted.id
            with trio.fail_after(10):
                # the note that the call is over stays for a while
                while await bench.messages(queue, queue._context.names.calls) > 1:
                    await trio.sleep(0.02)


async def test_a_publish_whose_confirmation_is_lost_is_there_once(bench):
    """Tried again with the same id: the stream knows it."""
    async with bench.open() as queue:
        publisher = queue._context.publisher
        answered, lost = publisher._answered, []

        def deaf(message):
            if lost:
                answered(message)
            else:
                lost.append(message)

        publisher._answered = deaf
        subscription = next(
            s for s in queue._context.client._subscriptions.values() if s.subject.startswith(publisher._inbox)
        )
        subscription._deliver = deaf
        accepted = await queue.put(bench.call())
        assert len(lost) == 1
        assert await bench.messages(queue, queue._context.names.calls) == 1
        assert (await bench.run(queue)).id == accepted.id
        assert queue.stats().bytes == 0


async def test_streams_that_are_gone_are_made_again(bench, until):
    """As after the restart of a broker with its streams in memory."""
    async with bench.open(options={"poll_interval": "100ms", "put_timeout": "1s"}) as queue:
        await queue.put(bench.call())
        await bench.run(queue)
        await queue.flush()
        for name in ("", "-dead"):
            await queue._context.api.ask(f"STREAM.DELETE.{queue._context.names.calls}{name}")
        accepted = None
        with trio.fail_after(10):
            while accepted is None:
                try:
                    accepted = await queue.put(bench.call())
                except QueueUnavailable:
                    await trio.sleep(0.05)
        assert (await bench.run(queue)).id == accepted.id


@pytest.mark.crash
async def test_a_cluster_that_loses_its_leader(bench_on, tmp_path):
    """Three servers, three copies: the leader of the calls is killed under load, and nothing is lost."""
    async with open_cluster(3, tmp_path / "nats") as servers:
        bench = bench_on(*(server.url for server in servers))
        accepted, ran = [], []
        async with bench.open(options={"replicas": 3}) as queue:
            async with under_load(bench, queue, accepted, ran):
                await trio.sleep(0.3)
                info = await queue._context.api.ask(f"STREAM.INFO.{queue._context.names.calls}")
                leader = next(server for server in servers if server.name == info["cluster"]["leader"])
                before = len(accepted)
                await leader.kill()
                with trio.fail_after(25):
                    while len(accepted) < before + 50:
                        await trio.sleep(0.02)
            await leader.start()
        print(f"{len(accepted)} accepted, {len(ran)} ran, {len(ran) - len(set(ran))} of them again")
        assert set(accepted) <= set(ran)


@pytest.mark.crash
async def test_a_cluster_without_a_majority_accepts_nothing(bench_on, tmp_path):
    """Two of three are gone: 503, not a 202 that cannot be kept. What was accepted comes; what was refused may."""
    async with open_cluster(3, tmp_path / "nats") as servers:
        bench = bench_on(*(server.url for server in servers))
        async with bench.open(options={"replicas": 3, "put_timeout": "1s"}) as queue:
            accepted = await queue.put(bench.call())
            for server in servers[1:]:
                await server.kill()
            with pytest.raises(QueueUnavailable):
                await queue.put(bench.call())
            for server in servers[1:]:
                await server.start()
            async with connect([servers[0].url]):
                while (await bench.take(queue, within=30)).id != accepted.id:
                    pass
