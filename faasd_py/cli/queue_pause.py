"""`faasd-py queue pause`."""

from __future__ import annotations

import argparse

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import clean, say, say_json


def run(options: argparse.Namespace) -> int:
    """One lane."""
    with Remote(options) as daemon:
        done = daemon.post("queue", options.function, "pause")
    if options.json:
        say_json(done)
    else:
        where = " in this daemon; others that share the queue go on with it" if done.get("shared") else ""
        say(f"{clean(done['function'])} is paused{where}")
    return 0
