"""`faasd-py calls result`."""

from __future__ import annotations

import argparse
import sys

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import say_json


def run(options: argparse.Namespace) -> int:
    """The body of the last answer as it is, or with --json everything about the answer."""
    with Remote(options) as daemon:
        if options.json:
            say_json(daemon.get("calls", options.id, "result"))
            return 0
        for piece in daemon.stream("calls", options.id, "result", "body"):
            sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()
    return 0
