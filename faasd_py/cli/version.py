"""`faasd-py version`."""

from __future__ import annotations

import argparse

import faasd_py
from faasd_py.cli.terminal import say, say_json


def run(options: argparse.Namespace) -> int:
    """One line."""
    if options.json:
        say_json({"version": faasd_py.__version__})
    else:
        say(f"faasd-py {faasd_py.__version__}")
    return 0
