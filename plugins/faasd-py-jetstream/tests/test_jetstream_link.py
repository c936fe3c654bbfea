"""The link to the broker is cut and mended, by a relay in between."""

from __future__ import annotations

from contextlib import asynccontextmanager

import pytest
import trio

from faasd_py.api import QueueError, QueueUnavailable


class Relay:
    """Passes bytes between clients and a server; `cut` drops every connection, `hold` lets nothing through."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open = trio.Event()
        self._open.set()
        self._scopes: set[trio.CancelScope] = set()
        self._refusing = False
        self.url = ""

    async def serve(self, task_status):
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.url = f"nats://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        await trio.serve_listeners(self._pass, listeners, task_status=task_status)

    async def _pass(self, client):
        if self._refusing:
            return
        async with client, await trio.open_tcp_stream("127.0.0.1", self._port) as server:
            with trio.CancelScope() as scope:
                self._scopes.add(scope)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._copy, client, server, scope)
                    nursery.start_soon(self._copy, server, client, scope)
            self._scopes.discard(scope)

    async def _copy(self, source, sink, scope):
        try:
            while data := await source.receive_some(65536):
                await self._open.wait()
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        scope.cancel()

    def cut(self):
        self._refusing = True
        for scope in self._scopes:
            scope.cancel()

    def mend(self):
        self._refusing = False
        self._open.set()

    def hold(self):
        self._open = trio.Event()


@asynccontextmanager
async def relay_to(url: str):
    async with trio.open_nursery() as nursery:
        relay = Relay(int(url.rpartition(":")[2]))
        await nursery.start(relay.serve)
        yield relay
        nursery.cancel_scope.cancel()


async def test_a_cut_link(bench_on, broker, until):
    """503 while it is cut, with the reason; by itself well again; every acknowledged put runs once."""
    async with relay_to(broker) as relay:
        bench = bench_on(relay.url)
        async with bench.open(options={"put_timeout": "400ms"}) as queue:
            accepted, ran = [], []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(bench.work, queue, ran)
                for _ in range(3):
                    accepted += [(await queue.put(bench.call())).id for _ in range(20)]
                    relay.cut()
                    await until(lambda: queue.trouble() is not None)
                    with pytest.raises(QueueUnavailable, match="no connection"):
                        await queue.put(bench.call())
                    relay.mend()
                    await until(lambda: queue.trouble() is None)
                await until(lambda: set(accepted) <= set(ran))
                nursery.cancel_scope.cancel()
            assert len(ran) == len(set(ran))


async def test_a_link_that_swallows_everything(bench_on, broker, until):
    """Nothing is lost when what was held comes through after all, and nothing is doubled."""
    async with relay_to(broker) as relay:
        bench = bench_on(relay.url)
        async with bench.open(options={"put_timeout": "500ms"}) as queue:
            first = await queue.put(bench.call())
            relay.hold()
            with pytest.raises(QueueError):
                await queue.put(bench.call())
            assert "in time" in queue.trouble()
            relay.mend()
            await until(lambda: queue.trouble() is None)
            last = await queue.put(bench.call())
            got = [(await bench.run(queue)).id]
            while got[-1] != last.id:
                got.append((await bench.run(queue)).id)
            assert got[0] == first.id
            assert len(got) == len(set(got)) <= 3


async def test_work_goes_on_elsewhere_while_one_daemon_is_cut_off(bench_on, broker, tmp_path):
    """Its calls are free after the ack wait; what it finishes afterwards does no harm."""
    async with relay_to(broker) as relay:
        near, far = bench_on(broker), bench_on(relay.url)
        async with near.open() as one, far.open() as two:
            accepted = await two.put(far.call())
            lease = await far.begin(two)
            relay.cut()
            again = await near.begin(one)
            assert (again.id, again.attempt, again.crashed) == (accepted.id, 2, True)
            await one.settle(again, near.done, near.answer)
            await one.flush()
            await two.settle(lease, far.done, far.answer)
            relay.mend()
            await two._context.client.wait_connected()
            await two.flush()
            assert (await one.find(accepted.id)).state.name == "DONE"
            assert one.lease_nowait(near.lane) is None
