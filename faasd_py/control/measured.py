"""Requests to /system on the page of metrics, by method, path and status (OpenFaaS wire contract §3.2)."""

from __future__ import annotations

import re
from time import perf_counter
from typing import Final

from quart import Response, g, request
from quart_trio import QuartTrio

from faasd_py.control.daemon import Daemon

OTHER: Final = "other"
"""Instead of a path that does not exist, and of a method that nobody has: anything may be asked for."""
METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")


def add_measures(app: QuartTrio, daemon: Daemon) -> None:
    """Before everything else that looks at requests: those that are refused count, too."""

    @app.before_request
    async def begin() -> None:
        g.begun = perf_counter()

    @app.after_request
    async def end(response: Response) -> Response:
        if request.path.startswith("/system"):
            method = request.method if request.method in METHODS else OTHER
            path = _PARAMETER.sub(r"{\1}", request.url_rule.rule) if request.url_rule else OTHER
            now = perf_counter()
            daemon.metrics.request(method, path).add(response.status_code, now - g.get("begun", now))
        return response
