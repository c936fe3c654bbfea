"""The command line's API, over a socket that the file system guards: what the door's has, and nobody is asked who they are."""

from __future__ import annotations

from quart_trio import QuartTrio

from faasd_py.control.bare_app import bare_app
from faasd_py.control.daemon import Daemon
from faasd_py.control.routes import add_all


def create_admin(daemon: Daemon) -> QuartTrio:
    """The app for `admin.sock`."""
    app = bare_app("admin")
    add_all(app, daemon)
    return app
