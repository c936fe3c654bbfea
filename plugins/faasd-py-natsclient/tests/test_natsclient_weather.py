"""A bad line: bytes come in crumbs, connections are cut anywhere."""

import random
from contextlib import asynccontextmanager

import pytest
import trio

from faasd_py_natsclient import Disconnected, NoResponders, connect

QUIET = (trio.BrokenResourceError, trio.ClosedResourceError)


@asynccontextmanager
async def bad_line(port, seed, *, crumbs, cut_after):
    """A proxy to this port: pieces of at most `crumbs` bytes, each connection cut after about `cut_after`."""
    dice = random.Random(seed)

    async def pump(source, target, budget):
        try:
            while budget[0] > 0:
                data = await source.receive_some(dice.randint(1, crumbs))
                if not data:
                    return
                await target.send_all(data[: budget[0]])
                budget[0] -= len(data)
        except QUIET:
            pass

    async def handle(ours):
        budget = [dice.randint(200, 2 * cut_after)]
        try:
            theirs = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            return
        async with theirs, trio.open_nursery() as nursery:

            async def one_way(source, target):
                await pump(source, target, budget)
                nursery.cancel_scope.cancel()

            nursery.start_soon(one_way, ours, theirs)
            nursery.start_soon(one_way, theirs, ours)

    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(trio.serve_tcp, handle, 0)
        yield f"nats://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


async def answer(url, *, task_status):
    """A responder on a good line."""
    async with connect([url]) as client:
        client.subscribe("echo", lambda m: client.publish(m.reply, m.data, headers=m.headers))
        await client.flush(5)
        task_status.started()
        await trio.sleep_forever()


@pytest.mark.parametrize("seed", range(4))
async def test_requests_over_a_line_that_is_cut_anywhere(server, seed):
    """Each of 16 tasks ends each request with its own answer or Disconnected; none hangs, none gets another's."""
    ends = {"answered": 0, "lost": 0}

    async def ask(client, i):
        done = 0
        while done < 15:
            body, headers = b"%d.%d." % (i, done) + bytes(done * 10), {"Who": f"{i}.{done}"}
            try:
                await client.wait_connected()
                message = await client.request("echo", body, headers=headers, timeout=20)
            except Disconnected:
                ends["lost"] += 1
            else:
                assert (message.data, message.headers) == (body, headers)
                ends["answered"] += 1
                done += 1

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            await nursery.start(answer, server.url)
            async with (
                bad_line(server.port, seed, crumbs=300, cut_after=8000) as url,
                connect(
                    [url], wait_first=True, reconnect_wait=0.01, discover=False, close_timeout=0.1
                ) as client,
                trio.open_nursery() as asking,
            ):
                for i in range(16):
                    asking.start_soon(ask, client, i)
            nursery.cancel_scope.cancel()
    assert ends["answered"] == 16 * 15
    assert ends["lost"] > 0
    assert client.reconnects > 2


async def test_crumbs_are_as_good_as_loaves(server):
    """One to three bytes at a time, both ways, in order."""
    async with (
        bad_line(server.port, 1, crumbs=3, cut_after=10**9) as url,
        connect([url], discover=False) as client,
    ):
        got = []
        client.subscribe("a", got.append)
        for i in range(50):
            client.publish("a", b"%d\r\n" % i, headers={"I": str(i)})
        with pytest.raises(NoResponders):
            await client.request("nobody", b"", timeout=20)
        assert [(m.data, m.headers) for m in got] == [(b"%d\r\n" % i, {"I": str(i)}) for i in range(50)]


async def test_what_arrives_over_a_bad_line_is_in_order_and_at_most_once(server):
    """Published messages may be lost with a connection; what comes is a subsequence of what went."""
    got = []
    with trio.fail_after(30):
        async with connect([server.url]) as good:
            good.subscribe("a", lambda m: got.append(int(m.data)))
            await good.flush(5)
            async with (
                bad_line(server.port, 7, crumbs=500, cut_after=4000) as url,
                connect(
                    [url], wait_first=True, reconnect_wait=0.01, discover=False, close_timeout=0.1
                ) as bad,
            ):
                for i in range(3000):
                    bad.publish("a", b"%d" % i)
                    if i % 10 == 0:
                        await trio.lowlevel.checkpoint()
                    if i % 500 == 0:
                        await bad.wait_connected()
                while bad.outbox.size or not bad.connected:
                    await trio.sleep(0.001)
            await good.flush(5)
    assert got == sorted(set(got))
    assert got
    assert bad.reconnects > 0
