"""What would keep a function from being opened; the same rules by which it is opened."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from faasd_py.config import FunctionSettings
from faasd_py.runtime import program, service, upstream
from faasd_py.runtime.confine.host import Host
from faasd_py.runtime.function import mode_of

COMMANDS: Final = frozenset({"fork", "stream", "http"})
"""The built-in modes that run `command`; a plug-in's own rules are its own."""


def problems(
    name: str, settings: FunctionSettings, modes: Iterable[str], secrets: Path, host: Host
) -> Iterator[str]:
    """What would keep a function from being opened on this host, a sentence each, beginning with the key."""
    mode = mode_of(settings)
    if mode not in modes:
        yield no_mode(name, mode, modes)
    if settings.command is not None and mode in COMMANDS:
        yield from program.problems(name, settings, secrets, host)
    if mode == "http":
        yield from service.problems(name, settings)
    if settings.url is not None:
        yield from upstream.problems(name, settings)


def no_mode(name: str, mode: str, modes: Iterable[str]) -> str:
    """The sentence for a mode that nothing here runs."""
    return f"functions.{name}.mode: there is no mode {mode!r}; there are {', '.join(sorted(modes))}"
