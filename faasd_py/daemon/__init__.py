"""The daemon: opens every room in order and closes them in reverse. Holds no logic of its own.

main     signals, locks, sockets, plug-ins, then the rooms as nested `async with`
daemon    the rooms side by side: serve, drain, reload, health
sockets, lock, notify   what a daemon owes its operating system
"""

from __future__ import annotations

from pathlib import Path


def run(path: Path) -> int:
    """Be the daemon until it is told to stop; the exit status: 0 stopped as asked, 1 failed, 2 configuration."""
    from faasd_py.daemon.main import main  # noqa: PLC0415  # trio and every room: only a daemon pays for them

    return main(path)
