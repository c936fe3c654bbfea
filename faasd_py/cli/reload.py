"""`faasd-py reload`: the running daemon reads its configuration again."""

from __future__ import annotations

import argparse

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import say, say_json


def run(options: argparse.Namespace) -> int:
    """Wait until it is in force; what is wrong with it is the daemon's own sentence."""
    with Remote(options, patience=None) as daemon:
        answer = daemon.post("reload")
    if options.json:
        say_json(answer)
    else:
        say("reloaded")
    return 0
