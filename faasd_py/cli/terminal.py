"""What is printed: tables for people, JSON for programs, progress only on a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import msgspec


def say(line: str) -> None:
    """A line on stdout; what cannot be printed there is escaped."""
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(line.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def say_json(value: Any) -> None:
    """A value as indented JSON on stdout."""
    say(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Columns as wide as their widest cell; the last one is cut where the terminal ends."""
    cells = [list(head), *([clean(str(cell)) for cell in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    width = os.get_terminal_size(1).columns if sys.stdout.isatty() else None
    for row in cells:
        say("  ".join(cell.ljust(wide) for cell, wide in zip(row, widths, strict=True)).rstrip()[:width])


def clean(text: str) -> str:
    """Without control characters: what callers wrote must not move the cursor."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


class Progress:
    """A line on stderr that is rewritten as the work goes on; nothing when stderr is no terminal."""

    def __init__(self, verb: str, total: int | None) -> None:
        self._verb = verb
        self._total = total
        self._on = sys.stderr.isatty()

    def show(self, count: int) -> None:
        """So many are done."""
        if self._on:
            of = f" of {self._total}" if self._total else ""
            sys.stderr.write(f"\r\x1b[K{self._verb} {count}{of} …")
            sys.stderr.flush()

    def clear(self) -> None:
        """Leave no trace."""
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
