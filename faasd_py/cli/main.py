"""From words to a verb, and from whatever went wrong to one sentence on stderr and an exit status."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Final

from faasd_py.cli.errors import Failed, Usage
from faasd_py.cli.parser import make_parser
from faasd_py.cli.streams import open_standard_streams
from faasd_py.core.errors import ConfigError, FaasdError, PluginError

FAILED: Final = 1
WRONG: Final = 2
INTERRUPTED: Final = 130


def main(words: Sequence[str] | None = None) -> int:
    """Run one verb; the exit status."""
    open_standard_streams()
    try:
        options = make_parser().parse_args(words)
        if options.run is None:
            options.parser.print_help(sys.stderr)
            return WRONG
    except BrokenPipeError:  # whoever asked for help has seen enough
        _discard_output()
        return FAILED
    return _guarded(options)


def _guarded(options: argparse.Namespace) -> int:
    try:
        status = _run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return FAILED
    except (Usage, ConfigError, PluginError) as error:
        return _say(options, error, WRONG)
    except FaasdError as error:
        return _say(options, error, FAILED)
    except Exception as error:
        if options.run == "up" or os.environ.get("FAASD_PY_DEBUG"):
            raise
        return _say(options, f"internal error: {type(error).__name__}: {error}", FAILED)
    return status


def _run(options: argparse.Namespace) -> int:
    module = importlib.import_module(f"faasd_py.cli.{options.run}")
    status: int = module.run(options)
    return status


def _say(options: argparse.Namespace, error: object, status: int) -> int:
    """The sentences, one a line; a reader who is gone does not matter any more."""
    lines = error.sentences if isinstance(error, Failed) else [str(error)]
    with contextlib.suppress(BrokenPipeError, KeyboardInterrupt):
        for line in lines:
            sys.stderr.write(f"{options.parser.prog.partition(' ')[0]}: {line}\n")
        sys.stderr.flush()
    return status


def _discard_output() -> None:
    """Else the interpreter would try to flush into the broken pipe once more at its end, and complain."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, sys.stdout.fileno())
    os.close(nothing)
