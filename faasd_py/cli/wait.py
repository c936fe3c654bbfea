"""`faasd-py calls wait`."""

from __future__ import annotations

import argparse
import time
from typing import Any, Final

from faasd_py.cli.errors import Failed, Usage
from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import clean, say, say_json
from faasd_py.core.durations import parse_duration

OVER: Final = frozenset({"done", "dead", "cancelled"})
SPELL: Final = 30.0
"""Seconds of one question: below the patience of whatever stands between us and the daemon."""


def run(options: argparse.Namespace) -> int:
    """Its state, when it is over."""
    call = _wait(options)
    if options.json:
        say_json(call)
    else:
        status = f" {call['status']}" if "status" in call else ""
        reason = f" ({clean(call['reason'])})" if call.get("reason") else ""
        say(f"{call['state']}{status}{reason}")
    return 0 if call["state"] == "done" and call.get("status", 200) < 400 else 1


def _wait(options: argparse.Namespace) -> dict[str, Any]:
    patience = _seconds(options.timeout)
    end, name = time.monotonic() + patience, options.id
    with Remote(options) as daemon:
        while True:
            left = max(0.0, end - time.monotonic())
            call: dict[str, Any] = daemon.get("calls", name, wait=f"{int(min(left, SPELL) * 1000)}ms")
            if call["state"] in OVER:
                return call
            if left == 0.0:
                raise Failed(
                    f"call {clean(options.id)} is not over after {options.timeout}: it is {call['state']}"
                )
            name = call["id"]


def _seconds(text: str | None) -> float:
    try:
        return float("inf") if text is None else parse_duration(text)
    except ValueError as error:
        raise Usage(f"calls wait: --timeout: {error}") from None
