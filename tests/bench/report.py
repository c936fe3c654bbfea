"""RESULTS.md: the machine, the command, the targets, and every figure behind them."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from tests.bench.rounds import Rounds, Series
from tests.bench.target import Row

UNITS = {"rate": 1.0, "cpu": 1e6, "p50": 1e6, "p99": 1e6, "fdatasync": 1e6, "accepted": 1.0}
"""What a figure is multiplied by: rates a second, the others in µs."""
MARKS = {True: "pass", False: "**miss**", None: "not measured"}


def render(rows: Sequence[Row], tables: Mapping[str, Rounds | str], command: str, seconds: float) -> str:
    """`tables` by title; a text is the section as it is."""
    parts = [_head(command, seconds), _targets(rows)]
    parts += [
        f"## {title}\n\n{found}" if isinstance(found, str) else _table(title, found)
        for title, found in tables.items()
    ]
    return "\n".join(parts)


def _head(command: str, seconds: float) -> str:
    lines = [
        "# What was measured",
        "",
        f"`{command}`, {datetime.now(UTC):%Y-%m-%d}, {seconds / 60:.0f} minutes, on",
        "",
        *(f"- {line}" for line in _machine()),
        "",
        "Where a section does not say otherwise, all variants are up at once and take turns in slices of some seconds; ratios are",
        "taken within a round; the figure is the median of the rounds, the spread their lowest and highest. The server that is",
        "measured is held to one core, the load generator and the function behind it to another, where the machine has two.",
    ]
    return "\n".join(lines) + "\n"


def _machine() -> list[str]:
    return [
        f"{os.cpu_count()} x {_cpu()}, {_memory_gib():.0f} GiB, Linux {platform.release()}, {_distribution()}",
        f"CPython {platform.python_version()}, {_versions()} ({_commit()})",
        f"{_said('/usr/sbin/nginx', '-v')}; {_beside('go', 'version')}; {_beside('nats-server', '--version')}",
    ]


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("trio", "httptools", "apsw", "faasd-py"))


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _memory_gib() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)


def _distribution() -> str:
    return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown distribution")


def _commit() -> str:
    return _said("git", "describe", "--always", "--dirty")


def _beside(program: str, *words: str) -> str:
    """What a program of this environment's says, else the one in the PATH."""
    beside = Path(sys.executable).with_name(program)
    return _said(str(beside) if beside.exists() else program, *words)


def _said(*words: str) -> str:
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    except OSError:
        return f"no {words[0]}"
    return (done.stdout + done.stderr).strip()


def _targets(rows: Sequence[Row]) -> str:
    lines = ["## Targets", "", "| what | target | measured | spread | |", "|---|---|---|---|---|"]
    lines += [
        f"| {row.what} | {row.target} | {row.measured} | {row.spread} | {MARKS[row.passed]} |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def _table(title: str, rounds: Rounds) -> str:
    """Medians of each variant, with lowest and highest."""
    lines = [f"## {title}", ""]
    for variant in rounds.variants:
        figures = [
            f"{figure} {_shown(figure, rounds.series(variant, figure))}" for figure in rounds.figures(variant)
        ]
        lines.append(f"- {variant}: {'; '.join(figures)}")
    return "\n".join(lines) + "\n"


def _shown(figure: str, series: Series) -> str:
    factor = UNITS.get(figure, 1.0)
    low, middle, high = (
        f"{value * factor:,.4g}" if abs(value * factor) < 1000 else f"{value * factor:,.0f}"
        for value in (series.low, series.median, series.high)
    )
    unit = " µs" if factor > 1 else ""
    return f"{middle}{unit} ({low} … {high})"
