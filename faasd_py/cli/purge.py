"""`faasd-py calls purge`."""

from __future__ import annotations

import argparse

from faasd_py.cli.each import by_thousands, one_by_one, waiting
from faasd_py.cli.errors import Usage
from faasd_py.cli.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Purge each, or all that match."""
    many = options.state is not None or options.function is not None
    if bool(options.ids) == many:
        raise Usage("calls purge: say which calls: their ids, or --state STATE, or --function NAME")
    with Remote(options) as daemon:
        if options.ids:
            return one_by_one(options, options.ids, lambda call: daemon.delete("calls", call), "purged")
        which = {"state": options.state, "function": options.function}
        total = waiting(daemon, options.function, options.state)
        return by_thousands(options, daemon, "purge", "purged", total, **which)
