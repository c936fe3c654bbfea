"""What a logbook is told, and what it tells of itself."""

from __future__ import annotations

from typing import Protocol

import msgspec


class LogsWords(Protocol):
    """`[logs]` of the configuration (`config.LogsSettings` is one)."""

    @property
    def enabled(self) -> bool:
        """Whether lines are kept."""
        ...

    @property
    def per_function(self) -> int:
        """Bytes that one function's lines may occupy."""
        ...

    @property
    def total(self) -> int:
        """Bytes that all lines together may occupy."""
        ...

    @property
    def retention(self) -> float:
        """Seconds that a line is kept."""
        ...

    @property
    def echo(self) -> bool:
        """Whether lines go into the daemon's own log, too."""
        ...

    @property
    def watchdog_lines(self) -> bool:
        """Whether calls leave the lines that OpenFaaS' watchdogs write."""
        ...


class Figures(msgspec.Struct):
    """Counted by the writing thread, read by anybody."""

    lines: int = 0
    """Written since the start."""
    bytes: int = 0
    """Occupied on disk now."""
    overload: int = 0
    """Lost because they came faster than they could be written."""
    disk: int = 0
    """Lost because the disk did not take them."""
