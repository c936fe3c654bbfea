"""One after the other, or all that match by thousands: what `cancel`, `requeue` and `purge` share."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import Any, Final

from faasd_py.cli.errors import Failed
from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import Progress, clean, say, say_json

BATCH: Final = 1000


def one_by_one(options: argparse.Namespace, ids: Sequence[str], act: Callable[[str], Any], done: str) -> int:
    """Do it to each; what is refused does not keep the others from it.

    Raises:
        Failed: a sentence for each that was refused.
    """
    results: list[Any] = []
    wrong: list[str] = []
    for call in ids:
        try:
            results.append(act(call))
        except Failed as error:
            wrong.extend(error.sentences)
        else:
            if not options.json:
                say(f"{clean(call)} {done}")
    if options.json:
        say_json(results)
    if wrong:
        raise Failed(*wrong)
    return 0


def by_thousands(
    options: argparse.Namespace, daemon: Remote, path: str, verb: str, total: int | None, **query: object
) -> int:
    """Do it to all that match, a batch at a time, until there are none or as many as there were at first."""
    progress, count = Progress(verb, total), 0
    progress.show(0)
    try:
        while True:
            batch = daemon.post("calls", path, limit=BATCH, **query)["count"]
            count += batch
            progress.show(count)
            if batch < BATCH or (total is not None and count >= total):
                break
    finally:
        progress.clear()
    if options.json:
        say_json({"count": count})
    else:
        say(f"{count} {'call' if count == 1 else 'calls'} {verb}")
    return 0


def waiting(daemon: Remote, function: str | None, state: str | None) -> int | None:
    """How many calls of a state there are in all; None when the figures do not tell."""
    if function is not None or state not in {"ready", "delayed", "dead"}:
        return None
    return int(daemon.get("queue")[state])
