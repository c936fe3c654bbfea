"""`faasd-py calls requeue`."""

from __future__ import annotations

import argparse

from faasd_py.cli.each import by_thousands, one_by_one, waiting
from faasd_py.cli.errors import Usage
from faasd_py.cli.remote import Remote


def run(options: argparse.Namespace) -> int:
    """Requeue each, or all dead ones that match."""
    many = options.all or options.function is not None
    if bool(options.ids) == many:
        raise Usage("calls requeue: say which calls: their ids, or --function NAME, or --all")
    with Remote(options) as daemon:
        if options.ids:
            return one_by_one(
                options, options.ids, lambda call: daemon.post("calls", call, "requeue"), "requeued"
            )
        total = waiting(daemon, options.function, "dead")
        return by_thousands(options, daemon, "requeue", "requeued", total, function=options.function)
