"""`faasd-py events`: what happens, as it happens."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from faasd_py.cli.errors import Failed
from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import clean, say

_APART: Final = frozenset({"event", "time"})


def run(options: argparse.Namespace) -> int:
    """A line for each event, until interrupted, or until the daemon stops."""
    with Remote(options) as daemon:
        last = ""
        for data in _data(daemon.stream("events", function=options.function, event=options.event)):
            event: dict[str, Any] = msgspec.json.decode(data)
            last = event["event"]
            if options.json:
                sys.stdout.buffer.write(data + b"\n")
            else:
                say(_line(event))
            sys.stdout.flush()
    if last != "daemon.stopping":
        raise Failed("the daemon ended the stream of events")
    return 0


def _data(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """What stands behind `data:`, each on a line of its own."""
    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                yield line[6:]


def _line(event: dict[str, Any]) -> str:
    when = datetime.fromtimestamp(event["time"], UTC).isoformat()[:23] + "Z " if "time" in event else ""
    facts = " ".join(
        f"{name}={clean(str(value))}"
        for name, value in event.items()
        if name not in _APART and value not in {None, ""}
    )
    return f"{when}{clean(event['event'])} {facts}".rstrip()
