"""`faasd-py calls cancel`."""

from __future__ import annotations

import argparse

from faasd_py.cli.admin import Admin
from faasd_py.cli.each import one_by_one


def run(options: argparse.Namespace) -> int:
    """Cancel each."""
    with Admin(options.config) as admin:
        return one_by_one(options, options.ids, lambda call: admin.post("calls", call, "cancel"), "cancelled")
