"""`faasd-py queue resume`."""

from __future__ import annotations

import argparse

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import clean, say, say_json


def run(options: argparse.Namespace) -> int:
    """One lane."""
    with Remote(options) as daemon:
        done = daemon.post("queue", options.function, "resume")
    if options.json:
        say_json(done)
    else:
        where = " in this daemon" if done.get("shared") else ""
        say(f"{clean(done['function'])} is going on{where}")
    return 0
