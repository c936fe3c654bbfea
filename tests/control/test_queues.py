"""The admin API over the real queues: what an operator does, with each backend that is built in."""

from __future__ import annotations

import pytest
import trio

from faasd_py import plugins
from faasd_py.config import Config, QueueSettings
from faasd_py.core.call import Call
from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import DONE, Outcome, Verdict
from faasd_py.hookspecs import QueueSite

LANE = "resize.openfaas-fn"


@pytest.fixture(params=["memory", "sqlite"])
async def daemon(request, daemon, tmp_path):
    """The daemon with a real queue."""
    settings = QueueSettings(backend=request.param)
    config = Config(queue=settings)
    for name in ("queue", "spool"):
        (tmp_path / name).mkdir()
    site = QueueSite(settings=settings, directory=tmp_path / "queue", spool=tmp_path / "spool")
    async with plugins.load(config).queue(config).open(site) as queue:
        daemon.queue, daemon.config = queue, config
        yield daemon


async def put(daemon, **facts) -> str:
    return (await daemon.queue.put(Call(lane=LANE, target=b"/x", body=b"the request", **facts))).id


async def attempt(daemon, verdict, **outcome):
    """Lease the next call and settle it so."""
    await daemon.queue.wait_ready(LANE)
    lease = daemon.queue.lease_nowait(LANE)
    await daemon.queue.start(lease)
    await daemon.queue.settle(lease, verdict, Outcome(**outcome))
    await daemon.queue.flush()
    return lease.id


async def test_the_life_of_a_call(admin, daemon):
    """Seen waiting, done, with its request and its result; then forgotten."""
    call = await put(daemon, call_id="mine")
    assert (await admin("GET", "/system/calls/mine")).json["state"] == "ready"
    await attempt(daemon, DONE, status=201, headers=b"X-A: b\r\n", body=b"answer", size=6)
    shown = (await admin("GET", f"/system/calls/{call}")).json
    assert (shown["state"], shown["status"], shown["attempts"]) == ("done", 201, 1)
    assert (await admin("GET", f"/system/calls/{call}/result/body")).body == b"answer"
    assert (await admin("GET", f"/system/calls/{call}/result")).json["headers"] == [["X-A", "b"]]
    assert (await admin("DELETE", "/system/calls/mine")).json == {"id": "mine", "state": "gone"}
    assert (await admin("GET", f"/system/calls/{call}")).status == 404
    assert (await admin("DELETE", f"/system/calls/{call}")).status == 404


async def test_the_request_of_a_waiting_call(admin, daemon):
    """As it was put."""
    call = await put(daemon, callback_url="http://example.org/")
    shown = (await admin("GET", f"/system/calls/{call}/request")).json
    assert (shown["target"], shown["size"], shown["callback_url"]) == ("/x", 11, "http://example.org/")
    assert (await admin("GET", f"/system/calls/{call}/request/body")).body == b"the request"


async def test_dead_letters(admin, daemon):
    """Buried, listed, requeued: one and all."""
    for _ in range(3):
        await put(daemon)
    dead = [await attempt(daemon, Verdict(move=Move.BURY, reason="attempts"), status=500) for _ in range(3)]
    page = (await admin("GET", "/system/calls?state=dead&function=resize")).json
    assert [call["id"] for call in page["calls"]] == sorted(dead, reverse=True)
    assert page["calls"][0]["reason"] == "attempts"
    assert (await admin("POST", f"/system/calls/{dead[0]}/requeue")).json["state"] == "ready"
    assert (await admin("POST", f"/system/calls/{dead[0]}/requeue")).status == 409
    assert (await admin("POST", "/system/calls/requeue?function=resize")).json == {"count": 2}
    assert (await admin("GET", "/system/queue")).json["ready"] == 3


async def test_cancel_and_purge(admin, daemon):
    """What waits is cancelled, what is over is purged, what runs stays."""
    calls = [await put(daemon) for _ in range(3)]
    assert (await admin("POST", f"/system/calls/{calls[0]}/cancel")).status == 200
    assert (await admin("POST", f"/system/calls/{calls[0]}/cancel")).status == 409
    lease = daemon.queue.lease_nowait(LANE)
    await daemon.queue.start(lease)
    assert (await admin("DELETE", f"/system/calls/{lease.id}")).status == 409
    assert (await admin("GET", f"/system/calls/{lease.id}")).json["state"] == "leased"
    assert (await admin("POST", "/system/calls/purge?function=resize")).json == {"count": 2}
    figures = (await admin("GET", "/system/queue")).json
    assert (figures["ready"], figures["leased"]) == (0, 1)
    await daemon.queue.settle(lease, DONE)


async def test_pages_of_a_real_queue(admin, daemon):
    """`before` goes through all of them, once each."""
    calls = [await put(daemon) for _ in range(25)]
    seen, query = [], "limit=10"
    with trio.fail_after(20):
        while True:
            page = (await admin("GET", f"/system/calls?{query}")).json
            seen += [call["id"] for call in page["calls"]]
            if "next" not in page:
                break
            query = f"limit=10&before={page['next']}"
    assert seen == sorted(calls, reverse=True)


async def test_health_and_metrics_of_a_real_queue(ask, daemon):
    """Depth and age are on the page."""
    await put(daemon)
    lines = (await ask("GET", "/metrics")).body.decode().splitlines()
    assert f'faasd_queue_depth{{function_name="{LANE}",state="ready"}} 1.0' in lines
    assert any(line.startswith("faasd_queue_oldest_age_seconds ") for line in lines)
    assert daemon.queue.stats().lanes[LANE].ready == 1
