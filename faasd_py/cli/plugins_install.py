"""`faasd-py plugins install`: pip, into the state directory."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from typing import Final

from faasd_py import plugins
from faasd_py.cli.errors import Failed
from faasd_py.cli.plugins import settings_or_defaults
from faasd_py.cli.terminal import say

_SHORT: Final = re.compile(r"[a-z0-9]+(?:[-_.][a-z0-9]+)*")
_PREFIX: Final = "faasd-py-"


def run(options: argparse.Namespace) -> int:
    """Install, and say what to do next. What the daemon has already is not installed a second time."""
    directory = plugins.directory(settings_or_defaults(options))
    command = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--prefix",
        str(directory),
    ]
    command += ["--upgrade"] if options.upgrade else []
    try:
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        status = subprocess.run([*command, *map(_requirement, options.names)], check=False).returncode
    except OSError as error:
        raise Failed(f"{error.filename or directory}: {error.strerror}") from error
    if status != 0:
        raise Failed(f"pip could not install {', '.join(options.names)} (exit status {status})")
    say(f"installed into {directory}; name the plug-in in the configuration and restart the daemon")
    return 0


def _requirement(name: str) -> str:
    """`jetstream` is `faasd-py-jetstream`; paths, URLs and whole names are left as they are."""
    plain = _SHORT.fullmatch(name) and not name.startswith(_PREFIX) and not name.endswith((".whl", ".gz"))
    return _PREFIX + name if plain else name
