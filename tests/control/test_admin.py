"""The admin API: what an operator can see and change, and the sentence when it cannot be."""

import base64
from urllib.parse import quote

import msgspec
import pytest
import trio

from faasd_py.core.call import Call, Spooled
from faasd_py.core.errors import QueueUnavailable
from faasd_py.core.lifecycle import State
from faasd_py.core.outcome import Attempt, Outcome
from tests.control.conftest import exchange

UNABLE = {"inspect": False, "cancel": False, "results": False, "dead_letters": False}


def without(daemon, **abilities):
    daemon.queue.capabilities = msgspec.structs.replace(daemon.queue.capabilities, **abilities)


async def test_calls_are_listed_newest_first(admin, daemon):
    """With what matters of each; fields that have no value are absent."""
    first = daemon.queue.add()
    second = daemon.queue.add(State.DEAD, status=503, attempts=3, reason="attempts")
    answer = await admin("GET", "/system/calls")
    assert answer.status == 200
    newest, oldest = answer.json["calls"]
    assert newest == {
        "id": second,
        "call_id": "call-2",
        "function": "resize.openfaas-fn",
        "state": "dead",
        "attempts": 3,
        "accepted_at": "2023-11-14T22:13:22.000Z",
        "status": 503,
        "reason": "attempts",
    }
    assert oldest["id"] == first
    assert "status" not in oldest
    assert "next" not in answer.json


async def test_pages(admin, daemon):
    """`next` is the `before` of the following page, and absent on the last."""
    for _ in range(5):
        daemon.queue.add()
    seen, query = [], "limit=2"
    while True:
        page = (await admin("GET", f"/system/calls?{query}")).json
        seen += [call["id"] for call in page["calls"]]
        if "next" not in page:
            break
        query = f"limit=2&before={page['next']}"
    assert seen == sorted(daemon.queue.calls, reverse=True)


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("state=dead", 2),
        ("function=resize", 2),
        ("function=resize.openfaas-fn", 2),
        ("function=callback:example.org:443", 1),
        ("state=dead&function=resize", 1),
        ("state=&function=", 4),
        ("function=other.team", 1),
        ("state=cancelled", 0),
    ],
)
async def test_filters(admin, daemon, query, count):
    """By state and by function; the default namespace is added, and callbacks have lanes of their own."""
    daemon.queue.add()
    daemon.queue.add(State.DEAD)
    daemon.queue.add(State.DEAD, lane="callback:example.org:443")
    daemon.queue.add(lane="other.team")
    answer = await admin("GET", f"/system/calls?{query}")
    assert len(answer.json["calls"]) == count


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        (
            "/system/calls?state=daed",
            "state: expected one of ready, leased, delayed, done, dead, cancelled, got 'daed'",
        ),
        ("/system/calls?limit=0", "limit: expected an integer from 1 to 1000, got '0'"),
        ("/system/calls?limit=1001", "limit: expected an integer from 1 to 1000, got '1001'"),
        ("/system/calls?limit=many", "limit: expected an integer from 1 to 1000, got 'many'"),
        ("/system/calls?limit=%C2%B2", "limit: expected an integer from 1 to 1000, got '²'"),
        (
            "/system/calls?function=a%20b",
            "function: expected NAME, NAME.NAMESPACE or callback:HOST:PORT, got 'a b'",
        ),
        (
            "/system/calls?staet=dead",
            "staet: there is no such parameter here (there is state, function, namespace, limit, before)",
        ),
    ],
)
async def test_bad_queries(admin, target, sentence):
    """400 with a sentence that names the parameter."""
    answer = await admin("GET", target)
    assert (answer.status, answer.json) == (400, {"error": sentence})


async def test_one_call_with_its_history(admin, daemon):
    """Found by queue id and by the caller's X-Call-Id."""
    history = (Attempt(number=1, started_at=1_700_000_000.5, duration=0.25, status=503, reason="status"),)
    call = daemon.queue.add(State.DELAYED, due_at=1_700_000_100.0, history=history, priority=3)
    for name in (call, "call-1"):
        shown = (await admin("GET", f"/system/calls/{name}")).json
        assert shown["id"] == call
        assert shown["due_at"] == "2023-11-14T22:15:00.000Z"
        assert shown["priority"] == 3
        assert shown["history"] == [
            {
                "number": 1,
                "started_at": "2023-11-14T22:13:20.500Z",
                "duration": 0.25,
                "status": 503,
                "reason": "status",
            }
        ]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "nothing"),
        ("DELETE", "nothing"),
        ("GET", "nothing/request"),
        ("GET", "nothing/request/body"),
        ("GET", "nothing/result"),
        ("GET", "nothing/result/body"),
        ("POST", "nothing/requeue"),
        ("POST", "nothing/cancel"),
    ],
)
async def test_unknown_calls(admin, method, path):
    """404 with a sentence, whatever was asked of it."""
    answer = await admin(method, f"/system/calls/{path}")
    assert (answer.status, answer.json) == (404, {"error": "call nothing not found"})


@pytest.mark.parametrize("state", [State.READY, State.DELAYED, State.DEAD])
async def test_cancel_what_waits(admin, daemon, state):
    """It is cancelled in the queue."""
    call = daemon.queue.add(state)
    answer = await admin("POST", f"/system/calls/{call}/cancel")
    assert (answer.status, answer.json) == (200, {"id": call, "state": "cancelled"})
    assert daemon.queue.calls[call].state is State.CANCELLED


async def test_cancel_what_runs(admin, daemon):
    """The worker that has it is asked; if it is just finishing, that is a 409."""
    call = daemon.queue.add(State.LEASED)
    daemon.workers.running.add(call)
    assert (await admin("POST", f"/system/calls/{call}/cancel")).status == 200
    daemon.workers.running.clear()
    answer = await admin("POST", f"/system/calls/{call}/cancel")
    assert (answer.status, answer.json) == (409, {"error": f"call {call} is finishing just now"})


@pytest.mark.parametrize("state", [State.DONE, State.CANCELLED])
async def test_cancel_what_is_over(admin, daemon, state):
    """409 with what it is."""
    call = daemon.queue.add(state)
    answer = await admin("POST", f"/system/calls/{call}/cancel")
    assert (answer.status, answer.json) == (409, {"error": f"call {call} is {state.name.lower()} already"})


async def test_requeue(admin, daemon):
    """A dead call is ready again; any other is a 409 with what it is."""
    dead, done, running = (daemon.queue.add(state) for state in (State.DEAD, State.DONE, State.LEASED))
    assert (await admin("POST", f"/system/calls/{dead}/requeue")).json == {"id": dead, "state": "ready"}
    answer = await admin("POST", f"/system/calls/{done}/requeue")
    assert (answer.status, answer.json["error"]) == (
        409,
        f"call {done} is done: only dead calls can be requeued",
    )
    answer = await admin("POST", f"/system/calls/{running}/requeue")
    assert answer.json["error"] == f"call {running} is running: only dead calls can be requeued"


async def test_forget(admin, daemon):
    """One call is removed with its result; not while it runs."""
    dead, running = daemon.queue.add(State.DEAD), daemon.queue.add(State.LEASED)
    assert (await admin("DELETE", f"/system/calls/{dead}")).json == {"id": dead, "state": "gone"}
    assert list(daemon.queue.calls) == [running]
    answer = await admin("DELETE", f"/system/calls/{running}")
    assert (answer.status, answer.json["error"]) == (409, f"call {running} is running: cancel it first")


async def test_requeue_many(admin, daemon):
    """All dead ones that match, up to limit; the count says how many."""
    for lane in ("one.openfaas-fn", "two.openfaas-fn"):
        for state in (State.DEAD, State.DEAD, State.DONE):
            daemon.queue.add(state, lane=lane)
    assert (await admin("POST", "/system/calls/requeue?function=one")).json == {"count": 2}
    assert (await admin("POST", "/system/calls/requeue?limit=1")).json == {"count": 1}
    assert (await admin("POST", "/system/calls/requeue")).json == {"count": 1}
    assert (await admin("POST", "/system/calls/requeue")).json == {"count": 0}


async def test_purge_many(admin, daemon):
    """By state or function, never what runs."""
    for state in (State.DEAD, State.DONE, State.READY, State.LEASED):
        daemon.queue.add(state)
    assert (await admin("POST", "/system/calls/purge?state=dead")).json == {"count": 1}
    assert (await admin("POST", "/system/calls/purge?function=resize&limit=1")).json == {"count": 1}
    assert (await admin("POST", "/system/calls/purge?function=resize")).json == {"count": 1}
    assert [record.state for record in daemon.queue.calls.values()] == [State.LEASED]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", "state: say which calls are to be purged, by state or by function"),
        ("?limit=5", "state: say which calls are to be purged, by state or by function"),
        ("?state=leased", "state: calls that run cannot be purged: cancel them first"),
    ],
)
async def test_purge_wants_to_know_what(admin, daemon, query, sentence):
    """A slip must not empty the queue."""
    daemon.queue.add()
    answer = await admin("POST", f"/system/calls/purge{query}")
    assert (answer.status, answer.json) == (400, {"error": sentence})
    assert daemon.queue.calls


async def test_the_request_as_it_was_put(admin, daemon):
    """Method, target, fields and body; what proves who the client is stays hidden."""
    call = daemon.queue.add()
    daemon.queue.requests[call] = Call(
        lane="resize.openfaas-fn",
        target=b"/a?b=c",
        headers=b"Content-Type: text/plain\r\nAuthorization: Basic c2VjcmV0\r\nX-A: \xe9\r\n",
        body=b"\x00body",
        max_attempts=3,
        callback_url="http://example.org/",
    )
    assert (await admin("GET", f"/system/calls/{call}/request")).json == {
        "method": "POST",
        "target": "/a?b=c",
        "function": "resize.openfaas-fn",
        "headers": [["Content-Type", "text/plain"], ["Authorization", "[hidden]"], ["X-A", "é"]],
        "size": 5,
        "max_attempts": 3,
        "callback_url": "http://example.org/",
        "body": base64.b64encode(b"\x00body").decode(),
    }
    raw = await admin("GET", f"/system/calls/{call}/request/body")
    assert (raw.body, raw.headers["content-type"]) == (b"\x00body", "application/octet-stream")


async def test_a_spooled_body_is_streamed(admin, daemon, tmp_path):
    """It is not put into the JSON, but had by its own path; 404 when the file is gone by then."""
    call, path = daemon.queue.add(), tmp_path / "body"
    path.write_bytes(bytes(range(256)) * 8192)
    daemon.queue.requests[call] = Call(lane="a.b", body=Spooled(str(path), 256 * 8192))
    shown = (await admin("GET", f"/system/calls/{call}/request")).json
    assert shown["size"] == 256 * 8192
    assert "body" not in shown
    raw = await admin("GET", f"/system/calls/{call}/request/body")
    assert raw.body == path.read_bytes()
    assert raw.headers["content-length"] == str(256 * 8192)
    path.unlink()
    answer = await admin("GET", f"/system/calls/{call}/request/body")
    assert (answer.status, answer.json["error"]) == (404, "the body is no longer kept")


async def test_a_request_that_is_no_longer_kept(admin, daemon):
    """The record is there, the request is not."""
    call = daemon.queue.add(State.DONE)
    answer = await admin("GET", f"/system/calls/{call}/request")
    assert (answer.status, answer.json["error"]) == (404, f"the request of call {call} is no longer kept")


async def test_the_result(admin, daemon):
    """Status, fields, timing and body of the last answer."""
    call = daemon.queue.add(State.DONE)
    daemon.queue.results[call] = Outcome(
        status=200,
        headers=b"Content-Type: text/plain\r\nSet-Cookie: a=b\r\n",
        body=b"done",
        size=4,
        started_at=1_700_000_000.0,
        duration=0.1234567,
    )
    assert (await admin("GET", f"/system/calls/{call}/result")).json == {
        "status": 200,
        "headers": [["Content-Type", "text/plain"], ["Set-Cookie", "[hidden]"]],
        "size": 4,
        "complete": True,
        "started_at": "2023-11-14T22:13:20.000Z",
        "duration": 0.123457,
        "body": base64.b64encode(b"done").decode(),
    }
    assert (await admin("GET", f"/system/calls/{call}/result/body")).body == b"done"


async def test_a_result_that_was_not_kept_whole(admin, daemon):
    """The figures are there, the body is not, and who wants it is told."""
    call = daemon.queue.add(State.DONE)
    daemon.queue.results[call] = Outcome(status=200, size=999_999, complete=False, body=b"part")
    shown = (await admin("GET", f"/system/calls/{call}/result")).json
    assert shown["complete"] is False
    assert "body" not in shown
    answer = await admin("GET", f"/system/calls/{call}/result/body")
    assert answer.status == 409
    assert answer.json["error"] == "the answer's body of 999999 bytes was not kept whole"


async def test_no_result_yet(admin, daemon):
    """404 saying how the call stands."""
    call = daemon.queue.add()
    answer = await admin("GET", f"/system/calls/{call}/result")
    assert (answer.status, answer.json["error"]) == (404, f"no answer of call {call} is kept (it is waiting)")


@pytest.mark.parametrize(
    ("method", "target", "sentence"),
    [
        ("GET", "calls", "this queue cannot show its calls"),
        ("GET", "calls/ID", "this queue cannot show its calls"),
        ("DELETE", "calls/ID", "this queue cannot show its calls"),
        ("GET", "calls/ID/request", "this queue cannot show its calls"),
        ("GET", "calls/ID/result", "this queue keeps no results"),
        ("POST", "calls/ID/cancel", "this queue cannot cancel calls"),
        ("POST", "calls/ID/requeue", "this queue cannot requeue dead letters"),
        ("POST", "calls/requeue", "this queue cannot requeue dead letters"),
        ("POST", "calls/purge?state=dead", "this queue cannot show its calls"),
    ],
)
async def test_what_a_backend_cannot_do(admin, daemon, method, target, sentence):
    """501 with the reason, by its honest capabilities."""
    call = daemon.queue.add()
    without(daemon, **UNABLE)
    answer = await admin(method, f"/system/{target.replace('ID', call)}")
    assert (answer.status, answer.json) == (501, {"error": sentence})


async def test_a_backend_without_forget(admin, daemon, monkeypatch):
    """A plug-in of before that method says so."""
    monkeypatch.delattr(type(daemon.queue), "forget")
    answer = await admin("DELETE", f"/system/calls/{daemon.queue.add()}")
    assert (answer.status, answer.json["error"]) == (501, "this queue cannot remove single calls")


async def test_the_queue_is_in_trouble(admin, daemon):
    """503 with the queue's own sentence."""
    daemon.queue.error = QueueUnavailable("the disk is full")
    answer = await admin("POST", f"/system/calls/{daemon.queue.add()}/cancel")
    assert (answer.status, answer.json) == (503, {"error": "the disk is full"})


async def test_figures(admin, daemon):
    """Depth by state in all and by lane, what the backend can do, and what troubles it."""
    daemon.queue.add()
    daemon.queue.add(State.DEAD)
    daemon.queue.add(State.LEASED, lane="callback:example.org:443")
    daemon.queue.reason = "the disk is full"
    figures = (await admin("GET", "/system/queue")).json
    assert {
        key: figures[key] for key in ("backend", "ready", "leased", "delayed", "dead", "bytes", "trouble")
    } == {
        "backend": "sqlite",
        "ready": 1,
        "leased": 1,
        "delayed": 0,
        "dead": 1,
        "bytes": 123,
        "trouble": "the disk is full",
    }
    assert figures["capabilities"]["durable"] is True
    assert figures["oldest_age_seconds"] > 0
    assert [lane["name"] for lane in figures["lanes"]] == ["callback:example.org:443", "resize.openfaas-fn"]


async def test_functions(admin, daemon):
    """OpenFaaS' status fields, the mode, and what runs now."""
    daemon.metrics.meter("resize.openfaas-fn").begin()
    resize, remote = (await admin("GET", "/system/functions")).json
    assert resize == {
        "name": "resize",
        "namespace": "openfaas-fn",
        "image": "",
        "mode": "fork",
        "inflight": 1,
        "replicas": 2,
        "availableReplicas": 1,
        "invocationCount": 1,
        "labels": {"team": "pictures"},
        "annotations": {},
        "envProcess": "cat",
        "origin": "config",
        "createdAt": "2023-11-14T22:13:20.000Z",
    }
    assert remote["mode"] == "url"
    assert "trouble" not in remote


async def test_a_function_that_cannot_be_called(admin, daemon):
    """It is listed, with the reason."""
    daemon.registry.functions()[0].trouble = "there is no program 'x'"
    assert (await admin("GET", "/system/functions")).json[0]["trouble"] == "there is no program 'x'"


async def test_reload(admin, daemon):
    """200 when the new configuration is in force, 422 with the sentence when the old one stays."""
    assert (await admin("POST", "/system/reload")).json == {"reloaded": True}
    daemon.reload_answer = "config.toml: queue.max_dept: there is no such setting"
    answer = await admin("POST", "/system/reload")
    assert (answer.status, answer.json) == (422, {"error": daemon.reload_answer})
    assert daemon.reloads == 2


async def test_a_reload_goes_on_when_the_one_who_asked_hangs_up(served, daemon):
    """Half a reload would be worse than none."""
    begun, may_end, ended = trio.Event(), trio.Event(), trio.Event()

    async def reload():
        begun.set()
        await may_end.wait()
        ended.set()

    daemon.reload = reload
    stream = await trio.open_unix_socket(str(served / "admin.sock"))
    await stream.send_all(b"POST /system/reload HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
    with trio.fail_after(20):
        await begun.wait()
        await stream.aclose()
        assert (await exchange(served / "admin.sock", "GET", "/system/queue")).status == 200
        may_end.set()
        await ended.wait()


async def test_a_reload_that_raises(admin, daemon, caplog):
    """A 500 for who asked, a traceback in the log, and the control plane goes on."""

    async def reload():
        raise RuntimeError("boo")

    daemon.reload = reload
    assert (await admin("POST", "/system/reload")).status == 500
    assert "boo" in caplog.text
    assert (await admin("GET", "/system/queue")).status == 200


async def test_many_at_once(admin, ask, daemon):
    """Fifty ask at once, each gets what was asked for."""
    calls = [daemon.queue.add() for _ in range(25)]
    answers = {}

    async def show(call):
        answers[call] = (await admin("GET", f"/system/calls/{call}")).json["id"]

    async def health(number):
        answers[number] = (await ask("GET", "/healthz")).body

    async with trio.open_nursery() as nursery:
        for number, call in enumerate(calls):
            nursery.start_soon(show, call)
            nursery.start_soon(health, number)
    assert answers == {call: call for call in calls} | dict.fromkeys(range(25), b"OK")


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("POST", "/system/calls"),
        ("GET", "/system/reload"),
        ("HEAD", "/system/queue"),
        ("PATCH", "/system/functions"),
    ],
)
async def test_wrong_methods(admin, method, target):
    """405 without a body."""
    answer = await admin(method, target)
    assert (answer.status, answer.body) == (405, b"")


async def test_strange_ids(admin, daemon):
    """Ids with spaces, slashes and control characters are unknown calls or unknown routes, never a 500."""
    daemon.queue.add()
    for text in ("%00", "%20", "..%2f", "a%2fb", "%ff%fe", "x" * 1000, "%0d%0aX-A:%20b"):
        answer = await admin("GET", f"/system/calls/{text}")
        assert answer.status == 404
        assert "x-a" not in answer.headers


@pytest.mark.parametrize("name", ["order/17", "ü ☃", "100%", "?x=1", "#f", "requeue", "purge", "a//b", "a/"])
async def test_call_ids_of_the_callers_own_making(admin, daemon, name):
    """An X-Call-Id is whatever a caller wrote: percent-encoded, it is found all the same."""
    call = daemon.queue.add(State.DEAD, call_id=name)
    daemon.queue.requests[call] = Call(lane="a.b", body=b"the request")
    given = quote(name, safe="")
    assert (await admin("GET", f"/system/calls/{given}")).json["id"] == call
    assert (await admin("POST", f"/system/calls/{quote(call)}/cancel")).status == 200


async def test_a_body_that_nobody_asked_for(admin, daemon):
    """It is ignored, also a large one."""
    call = daemon.queue.add()
    assert (await admin("POST", f"/system/calls/{call}/cancel", b"x" * 100_000)).status == 200
