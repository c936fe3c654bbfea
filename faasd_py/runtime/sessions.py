"""The sessions that this daemon's spawn helpers lead, on record: so that the next daemon finds what both left behind.

A helper that outlives its daemon ends what it has started (`spawner.py`), and the daemon what a dead helper has. When both are
killed at once (`killall -9 python3`, a lack of memory), nobody does, unless systemd or control groups do.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from faasd_py.runtime.session import members, started

_MARK: Final = b"OPENFAAS_NAME="
"""In the environment of every function's process, and of no other."""
_HELPER_ENDS_WITHIN: Final = 6.0
_KILLED_WITHIN: Final = 5.0
_POLL: Final = 0.005


class Sessions:
    """One file for each helper that runs, named by its pid, in a directory that this daemon alone has; None keeps no record."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        if directory is not None:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._life = _life()

    def note(self, pid: int) -> None:
        """This helper has been started; without room on the disk it goes unrecorded."""
        if self._directory is not None:
            with suppress(OSError):
                (self._directory / str(pid)).write_text(f"{self._life} {started(pid)}")

    def forget(self, pid: int) -> None:
        """It has ended, and so has everything that it started."""
        if self._directory is not None:
            with suppress(OSError):
                (self._directory / str(pid)).unlink()

    def end_leftovers(self) -> int:
        """Kill what an earlier daemon's helpers left behind; how many processes it were. Blocks until they are gone."""
        found = 0
        for helper, life, start in self._records():
            if life == self._life:
                found += _end(helper, start)
            self.forget(helper)
        return found

    def _records(self) -> Iterator[tuple[int, str, str]]:
        for path in list(self._directory.iterdir()) if self._directory is not None else []:
            with suppress(OSError, ValueError):
                life, _, start = path.read_text().partition(" ")
                yield int(path.name), life, start


def _life() -> str:
    """Pids mean the same as long as this is the same: the boot and the pid namespace."""
    with suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    return "?"


def _end(helper: int, start: str) -> int:
    """As long as a session has a process its number is given to nobody; if it is free, its next owner's are not ours."""
    if str(started(helper)) == start:
        _let_end(helper)
    if started(helper) is not None:
        return 0
    killed: set[int] = set()
    until = time.monotonic() + _KILLED_WITHIN
    while (left := [pid for pid in members(helper) if _is_ours(pid)]) and time.monotonic() < until:
        killed.update(left)
        for pid in left:
            _signal(pid, signal.SIGKILL)
        time.sleep(_POLL)
    return len(killed)


def _let_end(helper: int) -> None:
    """It is just ending what it started, and knows it better than we do; what does not end is killed."""
    _signal(helper, signal.SIGCONT)
    for patience in (_HELPER_ENDS_WITHIN, _KILLED_WITHIN):
        until = time.monotonic() + patience
        while started(helper) is not None and time.monotonic() < until:
            time.sleep(_POLL)
        _signal(helper, signal.SIGKILL)


def _is_ours(pid: int) -> bool:
    try:
        return any(line.startswith(_MARK) for line in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
