"""Plug-in: mode `http`, long-lived processes that serve HTTP (OpenFaaS' of-watchdog in http mode, wire contract §5.3).

A fleet of processes: see `fleet/fleet.py` for how many there are, and `instance.py` for what one is.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Final

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError
from faasd_py.hookspecs import RegisterRuntime, RuntimeSite, hookimpl
from faasd_py.runtime import program
from faasd_py.runtime.fleet.fleet import Fleet, open_fleet
from faasd_py.runtime.instance import processes

_LONGEST_DIRECTORY: Final = 107 - len("/999999.sock")
"""Bytes: a unix socket's path has at most 107 (unix(7))."""


def problems(name: str, settings: FunctionSettings) -> Iterator[str]:
    """What is wrong with a service's settings beyond its command, a sentence each."""
    place, path = f"functions.{name}", settings.ready_path
    if settings.port > 65535:
        yield f"{place}.port: expected a port of at most 65535, got {settings.port}"
    if settings.port and settings.replicas.max > 1:
        yield f"{place}.port: {settings.replicas.max} replicas cannot share one port; leave it out, and use $PORT"
    if settings.port and settings.unix_socket:
        yield f"{place}.port: expected either a port or unix_socket, got both"
    if path is not None and (not path.isascii() or any(c <= " " for c in path)):
        yield f"{place}.ready_path: expected a path as it stands in a request, got {path!r}"


@asynccontextmanager
async def open_service(site: RuntimeSite) -> AsyncIterator[Fleet]:
    """Mode `http`.

    Raises:
        ConfigError: the command cannot be run as it is set up.
    """
    for problem in (
        *program.problems(site.name, site.settings, site.secrets, site.machinery.confiner.host),
        *problems(site.name, site.settings),
    ):
        raise ConfigError(problem)
    if site.settings.unix_socket and len(os.fsencode(site.directory.absolute())) > _LONGEST_DIRECTORY:
        raise ConfigError(
            f"functions.{site.name}.unix_socket: {site.directory} is too long for the path of a socket"
        )
    async with open_fleet(site, processes(site)) as fleet:
        yield fleet


@hookimpl
def faasd_py_register_runtimes(register: RegisterRuntime) -> None:
    """One mode."""
    register("http", open_service)
