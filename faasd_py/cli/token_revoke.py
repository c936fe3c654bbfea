"""`faasd-py token revoke`."""

from __future__ import annotations

import argparse

from faasd_py.cli.each import one_by_one
from faasd_py.cli.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Revoke each."""
    with Remote(options) as daemon:
        return one_by_one(options, options.names, lambda name: daemon.delete("tokens", name), "revoked")
