"""Processes that belong together, found in /proc: those of a session, and those of a group.

A session is what a spawn helper that was killed has left behind; a group, what was started for one instance of a function.
Each helper leads a session of its own, so whatever it started is in it, also what it had no time to report; only what
made a session for itself (setsid) is not.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from faasd_py.runtime.contract import Usage

_ROUNDS: Final = 20
_STARTED: Final = 19
_RSS: Final = 21
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


def members(session: int) -> list[int]:
    """Pids of the processes in it that run (proc(5), /proc/PID/stat: state, ppid, pgrp, session)."""
    return [pid for pid, fields in _processes() if fields[3] == str(session) and fields[0] not in "ZX"]


def usages() -> dict[int, Usage]:
    """What each process group uses.

    Children that were waited for count, others that have ended do not. Blocking: it looks at every process there is.
    """
    ticks: Counter[int] = Counter()
    pages: Counter[int] = Counter()
    for _, fields in _processes():
        group = int(fields[2])
        ticks[group] += sum(map(int, fields[11:15]))  # utime, stime, cutime, cstime
        pages[group] += int(fields[_RSS])
    return {
        group: Usage(cpu_seconds=used / _TICKS, memory_bytes=pages[group] * _PAGE)
        for group, used in ticks.items()
    }


def _processes() -> Iterator[tuple[int, list[str]]]:
    """Each process, and the fields of /proc/PID/stat from the state on (proc(5))."""
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        with suppress(OSError):
            fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
            if len(fields) > _RSS:
                yield int(entry.name), fields


def started(pid: int) -> int | None:
    """When it was started, in ticks since the boot; None when it does not run."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
        return None if fields[0] in "ZX" else int(fields[_STARTED])
    except (OSError, IndexError, ValueError):
        return None


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
