"""`/system/functions`, `/system/function/NAME`, `/system/scale-function/NAME` and `/system/info` (OpenFaaS wire contract §1.3, §1.4).

What was begun is ended, also when the client goes.
"""

from __future__ import annotations

from typing import Final

import trio
from quart import Response, request
from quart_trio import QuartTrio

from faasd_py.control.bare_app import empty_answer
from faasd_py.control.daemon import Daemon, Function
from faasd_py.control.detached import detached
from faasd_py.control.function_views import (
    DeleteFunctionRequest,
    FunctionUsage,
    ScaleServiceRequest,
    function_status,
    gateway_info,
)
from faasd_py.control.incoming import incoming
from faasd_py.control.operation import JSON
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused
from faasd_py.control.steps import encoded
from faasd_py.core.deployment import FunctionDeployment

EVERY: Final = "*"
"""As `namespace`: all of them. No namespace can be called so."""
AT_ONCE: Final = 50
"""So many functions are looked at in one step: a fifth of a millisecond."""
_INTERVAL: Final = 0.2
"""Seconds over which the use of processors is measured."""
_YES: Final = frozenset({"1", "true"})


def add_functions(app: QuartTrio, daemon: Daemon) -> None:
    """The routes."""
    _look(app, daemon)
    _change(app, daemon)


def _look(app: QuartTrio, daemon: Daemon) -> None:
    @app.get("/system/functions")
    async def list_functions() -> Response:
        namespace = request.args.get("namespace") or daemon.namespaces.default
        if namespace != EVERY and namespace not in daemon.namespaces:
            raise Refused(400, f"namespace not valid: there is no namespace {namespace[:80]!r}")
        functions, next_of = daemon.registry.functions(), daemon.scheduler.next_of
        found = (one for one in functions if namespace in {EVERY, one.namespace})
        statuses = (function_status(one, next_of(one.label)) for one in found)
        return Response(await encoded(statuses, AT_ONCE), 200, content_type=JSON)

    @app.get("/system/function/<name>")
    async def show_function(name: str) -> Response:
        function = daemon.deployer.find(name, request.args.get("namespace", ""))
        usage = await _usage(function) if request.args.get("usage") in _YES else None
        return json_answer(function_status(function, daemon.scheduler.next_of(function.label), usage))

    @app.get("/system/info")
    async def info() -> Response:
        return json_answer(gateway_info())


def _change(app: QuartTrio, daemon: Daemon) -> None:
    @app.post("/system/functions")
    async def deploy_function() -> Response:
        sent = await incoming(FunctionDeployment)
        namespace = _namespace(sent.namespace)
        await detached(app, lambda: daemon.deployer.deploy(sent, namespace))
        return empty_answer(202)

    @app.put("/system/functions")
    async def update_function() -> Response:
        sent = await incoming(FunctionDeployment)
        namespace = _namespace(sent.namespace)
        await detached(app, lambda: daemon.deployer.deploy(sent, namespace, update=True))
        return empty_answer(202)

    @app.delete("/system/functions")
    async def delete_function() -> Response:
        asked = await incoming(DeleteFunctionRequest)
        namespace = _namespace(asked.namespace)
        await detached(app, lambda: daemon.deployer.remove(asked.function_name, namespace))
        return empty_answer(202)

    @app.post("/system/scale-function/<name>")
    async def scale_function(name: str) -> Response:
        asked = await incoming(ScaleServiceRequest)
        namespace = _namespace(asked.namespace)
        await detached(app, lambda: daemon.deployer.scale(name, namespace, asked.replicas))
        return empty_answer(202)


def _namespace(in_body: str) -> str:
    """New clients name it in the body, old ones in the query; empty: the name's suffix, else the default one."""
    return in_body or request.args.get("namespace", "")


async def _usage(function: Function) -> FunctionUsage:
    """What it uses now; zeros when its mode cannot tell."""
    ask = getattr(function.runtime, "usage", None)
    before = await ask() if ask else None
    begun = trio.current_time()
    if ask is None or before is None:
        return FunctionUsage()
    await trio.sleep(_INTERVAL)
    after = await ask()
    if after is None:
        return FunctionUsage()
    seconds = trio.current_time() - begun
    cores = max(0.0, after.cpu_seconds - before.cpu_seconds) / seconds
    return FunctionUsage(cpu=round(cores * 1000, 3), total_memory_bytes=float(after.memory_bytes))
