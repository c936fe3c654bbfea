"""`GET /metrics`: the page that Prometheus reads."""

from __future__ import annotations

import time
from functools import partial

import trio
from quart import Response
from quart_trio import QuartTrio

from faasd_py.control.daemon import Daemon, Function
from faasd_py.control.usage import Usages
from faasd_py.observe.metrics import ServiceFigures
from faasd_py.observe.page import CONTENT_TYPE
from faasd_py.runtime.contract import Usage

MINIMUM = "com.openfaas.scale.min"
TARGET = "com.openfaas.scale.target"


def add_metrics(app: QuartTrio, daemon: Daemon) -> None:
    """The route."""
    usages = Usages()

    @app.get("/metrics")
    async def metrics() -> Response:
        functions = daemon.registry.functions()
        used = await usages.ask(functions)
        services = {one.label: service(one, used.get(one.label)) for one in functions}
        render = partial(daemon.metrics.render, daemon.queue.stats(), services, now=time.time())
        # a page of many functions takes tens of milliseconds: calls go on meanwhile
        page = await trio.to_thread.run_sync(render)
        return Response(page, 200, content_type=CONTENT_TYPE)


def service(function: Function, usage: Usage | None) -> ServiceFigures:
    """A function's figures."""
    replicas, settings = function.runtime.replicas(), function.settings
    least = _number(settings.labels.get(MINIMUM))
    return ServiceFigures(
        wanted=replicas.wanted,
        available=replicas.available,
        least=settings.replicas.min if least is None else least,
        target=_number(settings.labels.get(TARGET)),
        cpu_seconds=None if usage is None else usage.cpu_seconds,
        memory_bytes=None if usage is None else usage.memory_bytes,
    )


def _number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None
