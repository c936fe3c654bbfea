"""`/system/calls`: asynchronous calls, looked at and changed.

GET    /system/calls?state=&function=&namespace=&limit=&before=    a page of calls, newest first
GET    /system/calls/ID?wait=                            one call with its history
DELETE /system/calls/ID                                  forget it, with its result
GET    /system/calls/ID/request  …/request/body          the call as it was put; its body as it came
GET    /system/calls/ID/result?wait=  …/result/body?wait=    the last answer; its body
POST   /system/calls/ID/requeue  /system/calls/ID/cancel
POST   /system/calls/requeue?function=&namespace=&before=&limit=   all dead ones that match, up to limit
POST   /system/calls/purge?state=&function=&namespace=&before=&limit=

ID is a queue id, or an X-Call-Id percent-encoded (one that ends in `/result` and the like is had by its queue id only).
With `wait` the answer comes when the call is over, or when that time is; of a result that is 202 with the call.
Answers are JSON (`views`), errors `{"error": sentence}`: 400 bad query, 404 unknown, 409 not in this state, 501 the
backend cannot do it, 503 the queue is in trouble.
"""

from __future__ import annotations

from typing import Final

from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control import operations, query, rendering
from faasd_py.control.bodies import body_response
from faasd_py.control.daemon import Daemon
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused
from faasd_py.control.steps import in_steps
from faasd_py.control.views import CallList, CallView, Count
from faasd_py.control.waits import OVER, Waits, until_over

PAGE: Final = 100
BATCH: Final = 1000
AT_ONCE: Final = 50
"""So many calls are looked at in one step."""
MAX_ID: Final = 1024
WHICH: Final = ("function", "namespace", "limit", "before")


def add_calls(app: QuartTrio, daemon: Daemon) -> None:
    """The routes."""
    app.before_request(_only_possible_ids)
    waits = Waits(daemon.events)
    _calls(app, daemon, waits)
    _moves(app, daemon)
    _many(app, daemon)
    _requests(app, daemon)
    _results(app, daemon, waits)


async def _only_possible_ids() -> None:
    if len((request.view_args or {}).get("call", "")) > MAX_ID:
        raise Refused(400, f"an id has at most {MAX_ID} characters")


def _calls(app: QuartTrio, daemon: Daemon, waits: Waits) -> None:
    @app.get("/system/calls")
    async def list_calls() -> Response:
        page = await operations.listing(daemon.queue, _asked(daemon, ("state", *WHICH), PAGE))
        calls: list[CallView] = []
        async for some in in_steps(page.records, AT_ONCE):
            calls.extend(map(rendering.call_view, some))
        return json_answer(CallList(calls=calls, next=page.next))

    @app.get("/system/calls/<path:call>")
    async def show_call(call: str) -> Response:
        record = await until_over(daemon, waits, call, _patience())
        return json_answer(rendering.call_view(record, await operations.callback_of(daemon.queue, record)))


def _moves(app: QuartTrio, daemon: Daemon) -> None:
    @app.delete("/system/calls/<path:call>")
    async def forget_call(call: str) -> Response:
        return json_answer(await operations.forget(daemon.queue, daemon.events, call))

    @app.post("/system/calls/<path:call>/requeue")
    async def requeue_call(call: str) -> Response:
        return json_answer(await operations.requeue(daemon.queue, daemon.events, call))

    @app.post("/system/calls/<path:call>/cancel")
    async def cancel_call(call: str) -> Response:
        return json_answer(await operations.cancel(daemon.queue, daemon.workers, daemon.events, call))


def _many(app: QuartTrio, daemon: Daemon) -> None:
    @app.post("/system/calls/requeue")
    async def requeue_calls() -> Response:
        asked = _asked(daemon, WHICH, BATCH)
        return json_answer(Count(count=await operations.requeue_all(daemon.queue, daemon.events, asked)))

    @app.post("/system/calls/purge")
    async def purge_calls() -> Response:
        asked = _asked(daemon, ("state", *WHICH), BATCH)
        return json_answer(Count(count=await operations.purge(daemon.queue, daemon.events, asked)))


def _requests(app: QuartTrio, daemon: Daemon) -> None:
    @app.get("/system/calls/<path:call>/request")
    async def show_request(call: str) -> Response:
        return json_answer(rendering.request_view(await operations.request(daemon.queue, call)))

    @app.get("/system/calls/<path:call>/request/body")
    async def request_body(call: str) -> Response:
        return await body_response((await operations.request(daemon.queue, call)).body)


def _results(app: QuartTrio, daemon: Daemon, waits: Waits) -> None:
    @app.get("/system/calls/<path:call>/result")
    async def show_result(call: str) -> Response:
        if unfinished := await _unfinished(daemon, waits, call):
            return unfinished
        return json_answer(rendering.result_view(await operations.result(daemon.queue, call)))

    @app.get("/system/calls/<path:call>/result/body")
    async def result_body(call: str) -> Response:
        if unfinished := await _unfinished(daemon, waits, call):
            return unfinished
        outcome = await operations.result(daemon.queue, call)
        if not outcome.complete:
            raise Refused(409, f"the answer's body of {outcome.size} bytes was not kept whole")
        return await body_response(outcome.body)


async def _unfinished(daemon: Daemon, waits: Waits, call: str) -> Response | None:
    """202 with the call, when somebody waited for its end in vain."""
    seconds = _patience()
    if not seconds:
        return None
    record = await until_over(daemon, waits, call, seconds)
    return None if record.state in OVER else json_answer(rendering.call_view(record), 202)


def _patience() -> float:
    for key in request.args:
        if key != "wait":
            raise Refused(400, f"{key[:80]}: there is no such parameter here (there is wait)")
    try:
        return query.patience(request.args.get("wait"))
    except ValueError as error:
        raise Refused(400, str(error)) from None


def _asked(daemon: Daemon, known: tuple[str, ...], limit: int) -> query.Selection:
    try:
        return query.read(request.args, known, daemon.config.gateway.namespace, limit)
    except ValueError as error:
        raise Refused(400, str(error)) from None
