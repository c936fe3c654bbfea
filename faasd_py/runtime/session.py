"""The processes of one session, found in /proc: what a spawn helper that was killed has left behind.

Each helper leads a session of its own, so whatever it started is in it, also what it had no time to report; only what
made a session for itself (setsid) is not.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import Final

_ROUNDS: Final = 20


def members(session: int) -> list[int]:
    """Pids of the processes in it that run (proc(5), /proc/PID/stat: state, ppid, pgrp, session)."""
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with suppress(OSError, IndexError):
            fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
            if fields[3] == str(session) and fields[0] not in "ZX":
                found.append(int(entry.name))
    return found


def parent(pid: int) -> int | None:
    """The pid of its parent; None when there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
    except (OSError, IndexError, ValueError):
        return None


def end(session: int) -> None:
    """KILL all of them, and what they started meanwhile."""
    for _ in range(_ROUNDS):
        left = members(session)
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        if not left:
            return
