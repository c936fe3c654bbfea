"""From a function's settings to the program that is started, and everything that can be wrong with it beforehand."""

from __future__ import annotations

import logging
import os
import pwd
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError
from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime import environment
from faasd_py.runtime.child import Program
from faasd_py.runtime.machinery import Machinery

log: Final = logging.getLogger("faasd_py.runtime")
_CGROUP_LIMITS: Final = ("memory", "cpu", "pids")


def prepare(site: RuntimeSite, extra: Mapping[str, str] | None = None) -> Program:
    """The program of a function; `extra` is added to its environment.

    Raises:
        ConfigError: it cannot be run as it is set up; the text names the function and the key.
    """
    settings = site.settings
    for problem in problems(site.name, settings, site.secrets):
        raise ConfigError(problem)
    for key in _limits(settings):
        log.warning("functions.%s.limits.%s is not enforced here (best_effort)", site.name, key)
    command = settings.command or []
    given = {**(extra or {}), **settings.environment}
    variables = environment.own(site.name, site.namespace, given, link_secrets(site), os.environ)
    machinery: Machinery = site.machinery
    return machinery.program(
        find(settings) or command[0],
        command,
        variables,
        settings.working_directory or "/",
        settings.limits.open_files or 0,
    )


def link_secrets(site: RuntimeSite) -> str | None:
    """A directory with just this function's secrets, None if it has none."""
    if not site.settings.secrets:
        return None
    directory = site.directory / "secrets"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in site.settings.secrets:
        link = directory / name
        link.unlink(missing_ok=True)
        link.symlink_to((site.secrets / name).absolute())
    return str(directory.absolute())


def find(settings: FunctionSettings) -> str | None:
    """The file of the command's first word: looked for in the function's own PATH, relative to its directory."""
    word = (settings.command or [""])[0]
    if "/" in word:
        path = os.path.join(settings.working_directory or "/", word)  # noqa: PTH118 - "./run" must stay as it is
        return path if os.access(path, os.X_OK) and not Path(path).is_dir() else None
    path = settings.environment.get("PATH") or os.environ.get("PATH") or environment.DEFAULT_PATH
    return shutil.which(word, path=path)


def problems(name: str, settings: FunctionSettings, secrets: Path) -> Iterator[str]:
    """What keeps a command from being run, each a sentence that begins with the key."""
    place = f"functions.{name}"
    directory = settings.working_directory
    if directory is not None and not os.path.isabs(directory):  # noqa: PTH117
        yield f"{place}.working_directory: expected an absolute path, got {directory!r}"
    elif directory is not None and not Path(directory).is_dir():
        yield f"{place}.working_directory: there is no directory {directory}"
    elif find(settings) is None:
        yield f"{place}.command: there is no program {(settings.command or [''])[0]!r} that can be run"
    yield from _forbidden(place, settings)
    for secret in settings.secrets:
        if "/" in secret or secret in {"", ".", ".."}:
            yield f"{place}.secrets: expected the name of a secret, got {secret!r}"
        elif not (secrets / secret).exists():
            yield f"{place}.secrets: there is no secret {secret!r} in {secrets}"


def _forbidden(place: str, settings: FunctionSettings) -> Iterator[str]:
    words = [*(settings.command or []), *settings.environment, *settings.environment.values()]
    if any("\0" in word for word in words):
        yield f"{place}: the command and the environment cannot hold NUL characters"
    for key in settings.environment:
        if not key or "=" in key:
            yield f"{place}.environment: {key!r} is no name of a variable"
    if settings.user is not None and settings.user not in _ourselves():
        yield f"{place}.user: functions run as the daemon's own user here; running as {settings.user!r} is not supported"
    if not settings.limits.best_effort:
        for key in _limits(settings):
            yield f"{place}.limits.{key}: cannot be enforced here; set best_effort = true to run without it"


def _limits(settings: FunctionSettings) -> list[str]:
    """The limits that are asked for and need control groups."""
    return [key for key in _CGROUP_LIMITS if getattr(settings.limits, key) is not None]


def _ourselves() -> set[str]:
    uid = os.geteuid()
    try:
        return {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        return {str(uid)}
