"""What the door proxies to: /healthz and /metrics (OpenFaaS wire contract §1.0, §1.4, §3)."""

from __future__ import annotations

import time
from functools import partial
from typing import Final

import trio
from quart import Response
from quart_trio import QuartTrio

from faasd_py.control.auth import add_auth
from faasd_py.control.bare_app import bare_app
from faasd_py.control.daemon import Daemon
from faasd_py.control.routes import add_all
from faasd_py.observe.page import CONTENT_TYPE

TEXT: Final = "text/plain; charset=utf-8"


def create_app(daemon: Daemon) -> QuartTrio:
    """The app for `control.sock`."""
    app = bare_app("control")
    add_auth(app)
    add_all(app, daemon)

    @app.get("/healthz")
    async def healthz() -> Response:
        reason = daemon.health()
        if reason is None:
            return Response("OK", 200, content_type=TEXT)
        return Response(f"{reason}\n", 503, content_type=TEXT)

    @app.get("/metrics")
    async def metrics() -> Response:
        replicas = {function.label: function.runtime.replicas() for function in daemon.registry.functions()}
        render = partial(daemon.metrics.render, daemon.queue.stats(), replicas, now=time.time())
        # a page of many functions takes tens of milliseconds: calls go on meanwhile
        page = await trio.to_thread.run_sync(render)
        return Response(page, 200, content_type=CONTENT_TYPE)

    return app
