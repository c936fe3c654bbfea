"""`faasd-py functions`: what the running daemon serves."""

from __future__ import annotations

import argparse

from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import say_json, table


def run(options: argparse.Namespace) -> int:
    """A line for each function."""
    with Remote(options) as daemon:
        functions = daemon.get("functions", namespace="*")
    if options.json:
        say_json(functions)
        return 0
    head = ("NAME", "NAMESPACE", "MODE", "REPLICAS", "INFLIGHT", "CALLS", "TROUBLE")
    rows = [
        (
            function["name"],
            function["namespace"],
            function["mode"],
            f"{function.get('availableReplicas', 0)}/{function.get('replicas', 0)}",
            function["inflight"],
            function.get("invocationCount", 0),
            function.get("trouble", ""),
        )
        for function in functions
    ]
    table(head, rows)
    return 0
