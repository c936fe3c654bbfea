"""Beside OpenFaaS: its gateway feeds our workers, our gateway feeds its queue-worker."""

from __future__ import annotations

import msgspec
import pytest
import trio

from faasd_py.api import BadOption, Call, Move, Verdict

from .openfaas_double import QueueWorker, gateway_message, go_url, stan
from .stan_ground import ANSWER, CALL, opened, take, until

DONE = Verdict(move=Move.DONE)
LANE = "figlet.openfaas-fn"


async def test_an_openfaas_gateway_feeds_our_workers(tmp_path, shared_broker):
    """The call as its client sent it, the call id, and the callback, which goes out as ours do."""
    options = shared_broker.options(format="openfaas")
    async with (
        opened(tmp_path, options) as queue,
        stan(shared_broker.url, f"faas-publisher-{options['client_id']}") as gateway,
    ):
        await gateway.publish(
            options["subject"],
            gateway_message("figlet", b"body\0\xff", CallbackUrl=go_url("receiver:81", "/done")),
        )
        lease = await take(queue, LANE)
        call = lease.call
        assert lease.call_id == "b6b0ae7c-1d5c-4b9e-a1a4-7f6d7c2e7a10"
        assert (call.method, call.target, call.host, call.body) == (
            b"POST",
            b"/sub?a=b",
            b"127.0.0.1:8080",
            b"body\0\xff",
        )
        assert call.headers == (
            b"Accept: */*\r\nContent-Type: application/octet-stream\r\nUser-Agent: curl/8.5.0\r\n"
        )
        assert (call.callback_url, call.accepted_at) == ("http://receiver:81/done", 1.7e9)
        await queue.start(lease)
        await queue.settle(lease, DONE, ANSWER, Call(lane="callback:receiver:81", body=b"told"))
        assert (await take(queue, "callback:receiver:81")).call.body == b"told"
        await queue.flush()
        assert queue.lease_nowait(LANE) is None


async def test_our_gateway_feeds_an_openfaas_worker(tmp_path, shared_broker):
    """Publish only: each call is the request that its own gateway would have queued."""
    options = shared_broker.options(format="openfaas", consume=False)
    worker = QueueWorker()
    async with (
        opened(tmp_path, options) as queue,
        stan(shared_broker.url, f"faas-worker-{options['client_id']}") as client,
    ):
        await client.subscribe(options["subject"], "faas", options["subject"], worker.take)
        call = msgspec.structs.replace(
            CALL,
            call_id="mine",
            headers=b"content-type: a/b\r\nX-Callback-Url: http://cb/x\r\n",
            callback_url="http://cb/x",
        )
        accepted = [await queue.put(call) for _ in range(3)]
        await queue.put(Call(lane="other.dev", body=b""))
        await worker.until(4)
        request = worker.requests[0]
        assert (request["method"], request["url"], request["body"]) == (
            "POST",
            "/function/resize/a?b=c",
            b"hello",
        )
        assert request["callback"] == "http://cb/x"
        assert request["headers"] == {
            "Content-Type": ["a/b"], "X-Callback-Url": ["http://cb/x"], "X-Call-Id": ["mine"],
            "X-Start-Time": ["0"], "X-Queue-Id": [accepted[0].id],
        }  # fmt: skip
        assert (worker.requests[3]["url"], worker.requests[3]["body"]) == ("/function/other.dev/", b"")
        assert queue.stats().lanes == {}
        await queue.flush()


async def test_a_worker_of_theirs_and_ours_share_the_group(tmp_path, shared_broker):
    """Each call runs at one of them."""
    options = shared_broker.options(format="openfaas", shared=True, max_in_flight=2)
    worker, ours = QueueWorker(), []
    async with (
        opened(tmp_path, options) as queue,
        stan(shared_broker.url, f"faas-worker-{options['client_id']}") as client,
    ):
        await client.subscribe(options["subject"], "faas", options["subject"], worker.take)
        for number in range(40):
            await queue.put(msgspec.structs.replace(CALL, lane=LANE, body=b"%d" % number))

        async def work():
            while True:
                lease = await take(queue, LANE, within=60)
                await queue.start(lease)
                ours.append(lease)
                await queue.settle(lease, DONE, ANSWER)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            await until(lambda: len(ours) + len(worker.requests) == 40)
            nursery.cancel_scope.cancel()
        ran = [lease.call.body for lease in ours] + [request["body"] for request in worker.requests]
        assert sorted(ran, key=int) == [b"%d" % number for number in range(40)]
        assert worker.requests
        assert ours


async def test_retries_and_bad_messages_work_in_this_form_too(tmp_path, shared_broker):
    """What OpenFaaS has no form for goes by channels of our own."""
    options = shared_broker.options(format="openfaas", hold="0s")
    async with (
        opened(tmp_path, options) as queue,
        stan(shared_broker.url, f"faas-publisher-{options['client_id']}") as gateway,
    ):
        await gateway.publish(options["subject"], b"{not json")
        await gateway.publish(options["subject"], gateway_message("figlet", b"x"))
        lease = await take(queue, LANE)
        await queue.start(lease)
        await queue.settle(lease, Verdict(move=Move.RETRY, wait=0.05, reason="status 500"))
        again = await take(queue, LANE)
        assert (again.id, again.attempt, again.call) == (lease.id, 2, lease.call)
        await queue.start(again)
        await queue.settle(again, Verdict(move=Move.BURY, reason="attempts"))
        await queue.flush()
        assert queue.stats().bytes == 0


async def test_what_this_form_cannot_carry_is_refused(tmp_path, shared_broker):
    """A worker of OpenFaaS would run a delayed call at once and an expired one all the same."""
    async with opened(tmp_path, shared_broker.options(format="openfaas")) as queue:
        able = queue.capabilities
        assert able.durable
        assert not (able.delay or able.expiry or able.priority or able.dedup)
        assert able.max_body == (1024 * 1024 - 64 * 1024) // 4 * 3
        with pytest.raises(BadOption, match="delays"):
            await queue.put(msgspec.structs.replace(CALL, not_before=9e9))
        body = b"z" * able.max_body
        await queue.put(msgspec.structs.replace(CALL, body=body))
        assert (await take(queue, CALL.lane)).call.body == body


async def test_our_own_calls_keep_their_id_and_run_once(tmp_path, shared_broker):
    """Through the JSON and back, in the next life too."""
    options = shared_broker.options(format="openfaas")
    async with opened(tmp_path, options) as queue:
        accepted = await queue.put(CALL)
        lease = await take(queue, CALL.lane)
        assert lease.id == accepted.id == lease.call_id
        assert lease.call == CALL
        await queue.start(lease)
    async with opened(tmp_path, options) as queue:
        lease = await take(queue, CALL.lane)
        assert (lease.id, lease.attempt, lease.crashed) == (accepted.id, 2, True)
        await queue.settle(lease, DONE)
        await queue.flush()
    async with opened(tmp_path, options) as queue:
        assert queue.lease_nowait(CALL.lane) is None
        assert queue.stats().lanes.get(CALL.lane) is None
