"""`faasd-py token list`."""

from __future__ import annotations

import argparse

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import say_json, table


def run(options: argparse.Namespace) -> int:
    """A line for each token."""
    with Remote(options) as daemon:
        tokens = daemon.get("tokens")
    if options.json:
        say_json(tokens)
        return 0
    rows = [
        (
            token["name"],
            ",".join(token["scopes"]),
            token.get("created_at", "-"),
            token.get("expires_at", "never") + (" (expired)" if token.get("expired") else ""),
        )
        for token in tokens
    ]
    table(("NAME", "SCOPES", "CREATED", "EXPIRES"), rows)
    return 0
