"""The command line's API, over a socket that the file system guards: all that the door's has, and a little more.

POST /system/reload
"""

from __future__ import annotations

from quart import Response
from quart_trio import QuartTrio

from faasd_py.control.bare_app import bare_app
from faasd_py.control.daemon import Daemon
from faasd_py.control.detached import detached
from faasd_py.control.problems import json_answer
from faasd_py.control.refused import Refused
from faasd_py.control.routes import add_all


def create_admin(daemon: Daemon) -> QuartTrio:
    """The app for `admin.sock`."""
    app = bare_app("admin")
    add_all(app, daemon)

    @app.post("/system/reload")
    async def reload() -> Response:
        if reason := await detached(app, daemon.reload):
            raise Refused(422, reason)
        return json_answer({"reloaded": True})

    return app
