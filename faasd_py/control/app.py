"""What the door proxies to: /healthz and /metrics (OpenFaaS wire contract §1.0, §1.4, §3)."""

from __future__ import annotations

from typing import Final

from quart import Response
from quart_trio import QuartTrio

from faasd_py.control.auth import add_auth
from faasd_py.control.bare_app import bare_app
from faasd_py.control.daemon import Daemon
from faasd_py.control.measured import add_measures
from faasd_py.control.metrics import add_metrics
from faasd_py.control.routes import add_all

TEXT: Final = "text/plain; charset=utf-8"


def create_app(daemon: Daemon) -> QuartTrio:
    """The app for `control.sock`."""
    app = bare_app("control")
    add_measures(app, daemon)
    add_auth(app, daemon.metrics.auth_failed)
    add_all(app, daemon)

    @app.get("/healthz")
    async def healthz() -> Response:
        reason = daemon.health()
        if reason is None:
            return Response("OK", 200, content_type=TEXT)
        return Response(f"{reason}\n", 503, content_type=TEXT)

    add_metrics(app, daemon)
    return app
