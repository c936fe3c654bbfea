"""The routes that both sockets have: the door's (with authentication) and the command line's (guarded by the file system)."""

from __future__ import annotations

from quart_trio import QuartTrio

from faasd_py.control.alert import add_alert
from faasd_py.control.calls import add_calls
from faasd_py.control.daemon import Daemon
from faasd_py.control.events import add_events
from faasd_py.control.functions import add_functions
from faasd_py.control.logs import add_logs
from faasd_py.control.namespaces import add_namespaces
from faasd_py.control.openapi import add_openapi
from faasd_py.control.problems import add_problems
from faasd_py.control.queue import add_queue
from faasd_py.control.reload import add_reload
from faasd_py.control.secrets import add_secrets
from faasd_py.control.tokens import add_tokens


def add_all(app: QuartTrio, daemon: Daemon) -> None:
    """Each topic is a module with its own `add_…`."""
    add_problems(app)
    add_functions(app, daemon)
    add_alert(app, daemon)
    add_logs(app, daemon)
    add_namespaces(app, daemon)
    add_secrets(app, daemon)
    add_calls(app, daemon)
    add_queue(app, daemon)
    add_events(app, daemon)
    add_tokens(app, daemon)
    add_reload(app, daemon)
    add_openapi(app)
