"""Serve the control plane: the sockets exist at once, the framework is imported beside the running daemon.

hypercorn never listens on a network address here, for it does not stand hostile HTTP/2; what reaches the control
socket has passed our own door.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from faasd_py.control.daemon import Daemon
from faasd_py.control.peer import Confines, nobody
from faasd_py.control.private_socket import private_socket

if TYPE_CHECKING:
    from faasd_py.control.connections import Connections

GRACE: Final = 2.0
"""Seconds that running requests get when the control plane is told to stop."""
CONTROL: Final = "control.sock"
ADMIN: Final = "admin.sock"
Stop = Callable[[], Awaitable[None]]


async def serve_control(
    daemon: Daemon,
    directory: Path,
    *,
    stop: Stop = trio.sleep_forever,
    confines: Confines = nobody,
    imported: Callable[[], object] = int,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `control.sock` and `admin.sock` in `directory` until cancelled, or until `stop` returns.

    Whom `confines` tells of by its pid is refused, though it be the same user. `imported` is called once the framework is
    there and before the first request is answered.

    Started as soon as both sockets can be connected to: requests wait there while the framework is imported
    (0.4 s of a thread's time), which is when the first one is answered.

    Raises:
        BootError: a socket cannot be had; the sentence names its path.
    """
    with private_socket(directory / CONTROL) as control, private_socket(directory / ADMIN) as admin:
        task_status.started()
        open_app, admin_app = await trio.to_thread.run_sync(_make, daemon, confines, abandon_on_cancel=True)
        imported()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_app.serve, control, stop)
            nursery.start_soon(admin_app.serve, admin, stop)


def _make(daemon: Daemon, confines: Confines) -> tuple[Connections, Connections]:
    """Both apps; here, and in a thread, the framework is imported."""
    from faasd_py.control.admin import create_admin  # noqa: PLC0415
    from faasd_py.control.app import create_app  # noqa: PLC0415
    from faasd_py.control.connections import Connections  # noqa: PLC0415

    return Connections(create_app(daemon), confines), Connections(create_admin(daemon), confines)
