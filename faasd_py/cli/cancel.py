"""`faasd-py calls cancel`."""

from __future__ import annotations

import argparse

from faasd_py.cli.each import one_by_one
from faasd_py.cli.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Cancel each."""
    with Remote(options) as daemon:
        return one_by_one(
            options, options.ids, lambda call: daemon.post("calls", call, "cancel"), "cancelled"
        )
