"""`faasd-py config`: what is in force."""

from __future__ import annotations

import argparse

from faasd_py.cli.terminal import say, say_json
from faasd_py.config import find, load, plain, show


def run(options: argparse.Namespace) -> int:
    """Every setting with its value."""
    settings = load(find(options.config))
    if options.json:
        say_json(plain(settings))
    else:
        say(show(settings).rstrip("\n"))
    return 0
