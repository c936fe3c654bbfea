"""Serve the control plane: the sockets exist at once, the framework is imported beside the running daemon.

hypercorn never listens on a network address here, for it does not stand hostile HTTP/2; what reaches the control
socket has passed our own door.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from faasd_py.control.house import House
from faasd_py.control.private import private_socket

if TYPE_CHECKING:
    from quart_trio import QuartTrio

CONTROL: Final = "control.sock"
ADMIN: Final = "admin.sock"
GRACE: Final = 2.0
"""Seconds that open connections get when the control plane is told to stop."""
_log: Final = logging.getLogger("faasd_py.control")
Stop = Callable[[], Awaitable[None]]


async def serve_control(
    house: House,
    directory: Path,
    *,
    stop: Stop = trio.sleep_forever,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `control.sock` and `admin.sock` in `directory` until cancelled, or until `stop` returns.

    Started as soon as both sockets can be connected to: requests wait there while the framework is imported
    (0.4 s of a thread's time), which is when the first one is answered.

    Raises:
        BootError: a socket cannot be had; the sentence names its path.
    """
    with private_socket(directory / CONTROL) as control, private_socket(directory / ADMIN) as admin:
        task_status.started()
        open_app, admin_app = await trio.to_thread.run_sync(_make, house, abandon_on_cancel=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_serve, open_app, control, stop)
            nursery.start_soon(_serve, admin_app, admin, stop)


def _make(house: House) -> tuple[QuartTrio, QuartTrio]:
    """Both apps; here, and in a thread, the framework is imported."""
    import hypercorn.trio.run  # noqa: F401, PLC0415
    import quart_trio  # noqa: F401, PLC0415

    from faasd_py.control.admin import create_admin  # noqa: PLC0415
    from faasd_py.control.app import create_app  # noqa: PLC0415

    return create_app(house), create_admin(house)


async def _serve(app: QuartTrio, listener: socket.socket, stop: Stop) -> None:
    from hypercorn.app_wrappers import ASGIWrapper  # noqa: PLC0415
    from hypercorn.config import Config, Sockets  # noqa: PLC0415
    from hypercorn.trio.run import worker_serve  # noqa: PLC0415

    config = Config()
    config.accesslog = None
    config.errorlog = _log
    config.loglevel = "WARNING"
    config.include_server_header = False
    config.read_timeout = None  # it would fire while a handler works
    config.keep_alive_timeout = 3600.0  # the door closes idle connections itself
    config.graceful_timeout = GRACE
    sockets = Sockets([], [listener.dup()], [])
    await worker_serve(ASGIWrapper(app), config, sockets=sockets, shutdown_trigger=stop)
