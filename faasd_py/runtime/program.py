"""From a function's settings to the program that is started, and everything that can be wrong with it beforehand."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import ConfigError
from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime import environment
from faasd_py.runtime.child import Program
from faasd_py.runtime.confine.bounds import FALLBACK, NONE, home, unenforced
from faasd_py.runtime.confine.bounds import problems as unconfinable
from faasd_py.runtime.confine.confiner import hand_over
from faasd_py.runtime.confine.host import Host
from faasd_py.runtime.machinery import Machinery

ABLE: Final = Host()
"""A host that can enforce whatever is asked."""
log: Final = logging.getLogger("faasd_py.runtime")


def prepare(site: RuntimeSite, extra: Mapping[str, str] | None = None) -> Program:
    """The program of a function; `extra` is added to its environment.

    Raises:
        ConfigError: it cannot be run as it is set up; the text names the function and the key.
    """
    settings = site.settings
    machinery: Machinery = site.machinery
    for problem in problems(site.name, settings, site.secrets, machinery.confiner.host):
        raise ConfigError(problem)
    for key in unenforced(settings, machinery.confiner.host):
        log.warning("functions.%s.limits.%s %s (best_effort)", site.name, key, FALLBACK.get(key, NONE))
    bounds = machinery.confiner.bounds(site)
    command = settings.command or []
    given = {**home(bounds), **(extra or {}), **settings.environment}
    try:
        secrets = copy_secrets(site) if bounds is not None else link_secrets(site)
        hand_over(site, bounds)
    except OSError as error:
        raise ConfigError(f"functions.{site.name}.secrets: {error.filename}: {error.strerror}") from error
    variables = environment.own(site.name, site.namespace, given, secrets, os.environ)
    return machinery.program(
        find(settings) or command[0],
        command,
        variables,
        settings.working_directory or "/",
        settings.limits.open_files or 0,
        bounds,
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


def copy_secrets(site: RuntimeSite) -> str | None:
    """The same with copies: for one that does not see where secrets are kept, and may be another user."""
    if not site.settings.secrets:
        return None
    directory = site.directory / "secrets"
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in site.settings.secrets:
        copy = directory / name
        copy.unlink(missing_ok=True)
        copy.touch(mode=0o600)
        copy.write_bytes((site.secrets / name).read_bytes())
        copy.chmod(0o400)
    return str(directory.absolute())


def find(settings: FunctionSettings) -> str | None:
    """The file of the command's first word: looked for in the function's own PATH, relative to its directory."""
    word = (settings.command or [""])[0]
    if "/" in word:
        path = os.path.join(settings.working_directory or "/", word)  # noqa: PTH118 - "./run" must stay as it is
        return path if os.access(path, os.X_OK) and not Path(path).is_dir() else None
    path = settings.environment.get("PATH") or os.environ.get("PATH") or environment.DEFAULT_PATH
    return shutil.which(word, path=path)


def problems(name: str, settings: FunctionSettings, secrets: Path, host: Host = ABLE) -> Iterator[str]:
    """What keeps a command from being run on this host, each a sentence that begins with the key."""
    place = f"functions.{name}"
    directory = settings.working_directory
    if directory is not None and not os.path.isabs(directory):  # noqa: PTH117
        yield f"{place}.working_directory: expected an absolute path, got {directory!r}"
    elif directory is not None and not Path(directory).is_dir():
        yield f"{place}.working_directory: there is no directory {directory}"
    elif find(settings) is None:
        yield f"{place}.command: there is no program {(settings.command or [''])[0]!r} that can be run"
    yield from _forbidden(place, settings)
    yield from unconfinable(place, settings, host)
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
