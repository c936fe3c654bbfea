"""What this process uses, under the names that every Prometheus client has: https://prometheus.io/docs/instrumenting/writing_clientlibs/."""

from __future__ import annotations

import functools
import os
import resource
from pathlib import Path

import msgspec

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGESIZE")


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes, seconds (the start is since 1970) and numbers of descriptors."""

    virtual_memory_bytes: int
    resident_memory_bytes: int
    start_time_seconds: float
    cpu_seconds: float
    open_fds: int
    max_fds: int


def process_figures() -> ProcessFigures | None:
    """The figures now; None where /proc is not as Linux has it. Blocks for as long as /proc takes: with many sockets, milliseconds."""
    try:
        fields = (
            Path("/proc/self/stat").read_bytes().rpartition(b")")[2].split()
        )  # from state (3) on: proc(5)
        user, system, started, virtual, pages = (int(fields[index]) for index in (11, 12, 19, 20, 21))
        return ProcessFigures(
            virtual_memory_bytes=virtual,
            resident_memory_bytes=pages * _PAGE,
            start_time_seconds=_boot_time() + started / _TICKS,
            cpu_seconds=(user + system) / _TICKS,
            open_fds=_count("/proc/self/fd"),
            max_fds=resource.getrlimit(resource.RLIMIT_NOFILE)[0],
        )
    except (OSError, ValueError, IndexError):
        return None


def _count(directory: str) -> int:
    with os.scandir(directory) as entries:
        return sum(1 for _ in entries)


@functools.cache
def _boot_time() -> float:
    """Seconds since 1970 (`btime` in /proc/stat)."""
    with Path("/proc/stat").open("rb") as lines:
        return next((float(line.split()[1]) for line in lines if line.startswith(b"btime ")), 0.0)
