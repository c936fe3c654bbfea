"""`GET /metrics`: the page that Prometheus reads."""

from __future__ import annotations

import time
from typing import Final

import trio
from quart import Response
from quart_trio import QuartTrio

from faasd_py.control.daemon import Daemon, Function
from faasd_py.control.steps import in_steps
from faasd_py.control.usage import Usages
from faasd_py.observe.metrics import ServiceFigures
from faasd_py.observe.page import CONTENT_TYPE, render
from faasd_py.observe.process import process_figures
from faasd_py.runtime.contract import Usage

LINES: Final = 200
FUNCTIONS: Final = 50
"""So many at a time: a fifth of a millisecond."""


def add_metrics(app: QuartTrio, daemon: Daemon) -> None:
    """The route."""
    usages = Usages()

    @app.get("/metrics")
    async def metrics() -> Response:
        functions = daemon.registry.functions()
        used = await usages.ask(functions)
        process = await trio.to_thread.run_sync(process_figures)
        services: dict[str, ServiceFigures] = {}
        async for some in in_steps(functions, FUNCTIONS):
            services.update((one.label, service(one, used.get(one.label))) for one in some)
        lines = render(daemon.metrics, daemon.queue.stats(), services, process, time.time())
        text = "".join(["".join(some) async for some in in_steps(lines, LINES)])
        return Response(text, 200, content_type=CONTENT_TYPE)


def service(function: Function, usage: Usage | None) -> ServiceFigures:
    """A function's figures."""
    replicas, scaling = function.runtime.replicas(), function.settings.scaling()
    return ServiceFigures(
        wanted=replicas.wanted,
        available=replicas.available,
        least=scaling.start,
        target=scaling.target,
        cpu_seconds=None if usage is None else usage.cpu_seconds,
        memory_bytes=None if usage is None else usage.memory_bytes,
    )
