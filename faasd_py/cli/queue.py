"""`faasd-py queue`: a line for each lane."""

from __future__ import annotations

import argparse
from typing import Any

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import say_json, table

HEAD = ("LANE", "READY", "RUNNING", "DELAYED", "DEAD", "OLDEST", "IN/S", "OUT/S", "PAUSED")


def run(options: argparse.Namespace) -> int:
    """The figures of each lane that has calls, moved lately, or is paused."""
    with Remote(options) as daemon:
        figures = daemon.get("queue")
    if options.json:
        say_json(figures)
    else:
        table(HEAD, [_row(lane) for lane in figures["lanes"]])
    return 0


def _row(lane: dict[str, Any]) -> tuple[object, ...]:
    age = lane.get("oldest_age_seconds")
    return (
        lane["name"],
        lane["ready"],
        lane["leased"],
        lane["delayed"],
        lane["dead"],
        "-" if age is None else f"{age:.0f}s",
        f"{lane.get('accepted_per_second', 0):.1f}",
        f"{lane.get('finished_per_second', 0):.1f}",
        lane.get("paused_at", ""),
    )
