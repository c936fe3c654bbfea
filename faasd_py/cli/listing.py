"""`faasd-py calls list`."""

from __future__ import annotations

import argparse
from typing import Any, Final

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import say_json, table

PAGE: Final = 1000


def run(options: argparse.Namespace) -> int:
    """A line for each call, newest first."""
    with Remote(options) as daemon:
        calls = _pages(options, daemon)
    if options.json:
        say_json(calls)
        return 0
    head = ("ID", "FUNCTION", "STATE", "TRIES", "STATUS", "ACCEPTED", "REASON")
    table(head, [_row(call) for call in calls])
    return 0


def _pages(options: argparse.Namespace, daemon: Remote) -> list[dict[str, Any]]:
    before = options.before
    calls: list[dict[str, Any]] = []
    while len(calls) < options.limit:
        limit = min(PAGE, options.limit - len(calls))
        page = daemon.get("calls", state=options.state, function=options.function, limit=limit, before=before)
        calls += page["calls"]
        if (before := page.get("next")) is None:
            break
    return calls


def _row(call: dict[str, Any]) -> tuple[object, ...]:
    return (
        call["id"],
        call["function"],
        call["state"],
        call["attempts"],
        call.get("status", "-"),
        call["accepted_at"],
        call.get("reason", ""),
    )
