"""`faasd-py up`: be the daemon."""

from __future__ import annotations

import argparse

from faasd_py.config import find


def run(options: argparse.Namespace) -> int:
    """The daemon's own exit status."""
    from faasd_py import daemon

    return daemon.run(find(options.config))
