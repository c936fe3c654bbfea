"""`faasd-py logs`: the lines of a function, and with --follow those to come."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Final

import msgspec

from faasd_py.cli.errors import Usage
from faasd_py.cli.remote import PATIENCE, Remote
from faasd_py.cli.terminal import clean, say
from faasd_py.core.durations import parse_duration

BEGINNING: Final = "1970-01-01T00:00:00Z"


class _Line(msgspec.Struct):
    timestamp: str
    instance: str
    text: str


def run(options: argparse.Namespace) -> int:
    """A line for each, as it comes; until interrupted when it follows."""
    with Remote(options, patience=None if options.follow else PATIENCE) as daemon:
        pieces = daemon.stream(
            "logs",
            name=options.name,
            since=_since(options),
            tail=options.tail,
            instance=options.instance,
            call_id=options.call,
            follow=int(options.follow),
            more=int(options.json) or None,
        )
        for piece in _whole_lines(pieces):
            if options.json:
                sys.stdout.buffer.write(piece)
            else:
                _print(piece)
            sys.stdout.flush()
    return 0


def _print(piece: bytes) -> None:
    for line in msgspec.json.Decoder(_Line).decode_lines(piece):
        text = "\t".join(clean(part) for part in line.text.split("\t"))
        say(f"{line.timestamp[:23]}Z {line.instance or '-'} {text}")


def _whole_lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        whole, end, rest = (rest + piece).rpartition(b"\n")
        if end:
            yield whole + end


def _since(options: argparse.Namespace) -> str | None:
    """RFC 3339 as it was given, or that long ago. Who wants the last lines wants them however old they are."""
    given: str | None = options.since
    if given is None:
        return BEGINNING if options.tail is not None or options.call is not None else None
    if given[:1].isdigit() and "T" in given:
        return given
    try:
        moment = datetime.fromtimestamp(max(0.0, time.time() - parse_duration(given)), UTC)
    except ValueError:
        raise Usage(
            f'logs: --since: expected a duration like "10m" or a time like 2026-12-24T18:00:00Z, got {given!r}'
        ) from None
    return moment.isoformat().replace("+00:00", "Z")
