"""`faasd-py calls show`: one call, its request, or its result."""

from __future__ import annotations

import argparse
import sys
from typing import Any, Final

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import clean, say, say_json

LINES: Final = (
    ("id", "id"),
    ("call_id", "call id"),
    ("function", "function"),
    ("state", "state"),
    ("reason", "reason"),
    ("status", "last status"),
    ("attempts", "attempts"),
    ("priority", "priority"),
    ("size", "size in bytes"),
    ("callback_url", "callback"),
    ("accepted_at", "accepted"),
    ("due_at", "due"),
    ("expires_at", "expires"),
    ("started_at", "started"),
    ("finished_at", "finished"),
)


def run(options: argparse.Namespace) -> int:
    """The record, or a body on stdout as it is."""
    part = "request" if options.request else "result" if options.result else None
    with Remote(options) as daemon:
        if part and not options.json:
            return _copy(daemon, options.id, part)
        found = daemon.get("calls", options.id, *([part] if part else []))
    if options.json:
        say_json(found)
    else:
        _show(found)
    return 0


def _copy(daemon: Remote, call: str, part: str) -> int:
    for piece in daemon.stream("calls", call, part, "body"):
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()
    return 0


def _show(call: dict[str, Any]) -> None:
    for key, words in LINES:
        if key in call:
            say(f"{words + ':':<15}{clean(str(call[key]))}")
    for attempt in call.get("history", ()):
        reason = f" ({clean(attempt['reason'])})" if attempt.get("reason") else ""
        say(
            f"{'attempt ' + str(attempt['number']) + ':':<15}{attempt['started_at']} "
            f"{attempt['status']}{reason} in {attempt['duration']:g} s"
        )
