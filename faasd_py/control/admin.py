"""The admin API for the CLI, over a socket that the file system guards.

GET    /system/calls?state=&function=&limit=&before=     a page of calls, newest first
GET    /system/calls/ID                                  one call with its history
DELETE /system/calls/ID                                  forget it, with its result
GET    /system/calls/ID/request  …/request/body          the call as it was put; its body as it came
GET    /system/calls/ID/result   …/result/body           the last answer; its body
POST   /system/calls/ID/requeue  /system/calls/ID/cancel
POST   /system/calls/requeue?function=&before=&limit=    all dead ones that match, up to limit
POST   /system/calls/purge?state=&function=&before=&limit=
GET    /system/queue                                     figures
GET    /system/functions
POST   /system/reload

ID is a queue id, or an X-Call-Id percent-encoded (one that ends in `/result` and the like is had by its queue id only).
Answers are JSON (`views`), errors `{"error": sentence}`: 400 bad query, 404 unknown, 409 not in this state, 501 the
backend cannot do it, 503 the queue is in trouble.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control import operations, query, rendering
from faasd_py.control.bare_app import bare_app
from faasd_py.control.bodies import body_response
from faasd_py.control.daemon import Daemon
from faasd_py.control.detached import detached
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused
from faasd_py.control.routes import add_all
from faasd_py.control.views import CallList, Count

PAGE: Final = 100
BATCH: Final = 1000
_log: Final = logging.getLogger("faasd_py.control")


def create_admin(daemon: Daemon) -> QuartTrio:
    """The app for `admin.sock`."""
    app = bare_app("admin")
    add_all(app, daemon)
    _calls(app, daemon)
    _many(app, daemon)
    _bodies(app, daemon)
    _daemon(app, daemon)
    return app


def _calls(app: QuartTrio, daemon: Daemon) -> None:
    @app.get("/system/calls")
    async def listing() -> Response:
        asked = _asked(daemon, ("state", "function", "limit", "before"), PAGE)
        records = await operations.listing(daemon.queue, asked)
        last = records[-1].id if len(records) == asked.limit else None
        return json_answer(CallList(calls=[rendering.call_view(record) for record in records], next=last))

    @app.get("/system/calls/<path:call>")
    async def show(call: str) -> Response:
        return json_answer(rendering.call_view(await operations.find(daemon.queue, call)))

    @app.delete("/system/calls/<path:call>")
    async def forget(call: str) -> Response:
        return json_answer(await operations.forget(daemon.queue, call))

    @app.post("/system/calls/<path:call>/requeue")
    async def requeue(call: str) -> Response:
        return json_answer(await operations.requeue(daemon.queue, call))

    @app.post("/system/calls/<path:call>/cancel")
    async def cancel(call: str) -> Response:
        return json_answer(await operations.cancel(daemon.queue, daemon.workers, call))


def _many(app: QuartTrio, daemon: Daemon) -> None:
    @app.post("/system/calls/requeue")
    async def requeue_all() -> Response:
        asked = _asked(daemon, ("function", "before", "limit"), BATCH)
        return json_answer(Count(count=await operations.requeue_all(daemon.queue, asked)))

    @app.post("/system/calls/purge")
    async def purge() -> Response:
        asked = _asked(daemon, ("state", "function", "before", "limit"), BATCH)
        return json_answer(Count(count=await operations.purge(daemon.queue, asked)))


def _bodies(app: QuartTrio, daemon: Daemon) -> None:
    @app.get("/system/calls/<path:call>/request")
    async def put(call: str) -> Response:
        return json_answer(rendering.request_view(await operations.request(daemon.queue, call)))

    @app.get("/system/calls/<path:call>/request/body")
    async def put_body(call: str) -> Response:
        return await body_response((await operations.request(daemon.queue, call)).body)

    @app.get("/system/calls/<path:call>/result")
    async def result(call: str) -> Response:
        return json_answer(rendering.result_view(await operations.result(daemon.queue, call)))

    @app.get("/system/calls/<path:call>/result/body")
    async def result_body(call: str) -> Response:
        outcome = await operations.result(daemon.queue, call)
        if not outcome.complete:
            raise Refused(409, f"the answer's body of {outcome.size} bytes was not kept whole")
        return await body_response(outcome.body)


def _daemon(app: QuartTrio, daemon: Daemon) -> None:
    @app.get("/system/queue")
    async def figures() -> Response:
        queue, backend = daemon.queue, daemon.config.queue.backend
        view = rendering.queue_view(backend, queue.capabilities, queue.stats(), queue.trouble(), time.time())
        return json_answer(view)

    @app.get("/system/functions")
    async def functions() -> Response:
        return json_answer([operations.function_view(function) for function in daemon.registry.functions()])

    @app.post("/system/reload")
    async def reload() -> Response:
        if reason := await detached(app, daemon.reload):
            raise Refused(422, reason)
        return json_answer({"reloaded": True})


def _asked(daemon: Daemon, known: tuple[str, ...], limit: int) -> query.Selection:
    try:
        return query.read(request.args, known, daemon.config.gateway.namespace, limit)
    except ValueError as error:
        raise Refused(400, str(error)) from None
