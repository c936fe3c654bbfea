"""`faasd-py token create`."""

from __future__ import annotations

import argparse

from faasd_py.cli.errors import Usage
from faasd_py.cli.remote import Remote
from faasd_py.cli.terminal import say, say_json
from faasd_py.core.durations import parse_duration


def run(options: argparse.Namespace) -> int:
    """Its text on stdout, once."""
    body: dict[str, object] = {"name": options.name, "scopes": options.scope}
    if options.expires is not None:
        try:
            parse_duration(options.expires)
        except ValueError as error:
            raise Usage(f"token create: --expires: {error}") from None
        body["expires"] = options.expires
    with Remote(options) as daemon:
        made = daemon.post("tokens", body=body)
    if options.json:
        say_json(made)
    else:
        say(made["token"])
    return 0
