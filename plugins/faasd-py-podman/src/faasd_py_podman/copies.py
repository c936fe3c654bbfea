"""A function's secrets as a container has them: copies that any user in it may read, in a directory that nobody outside may enter.

Copies, because where the daemon keeps them only the daemon may read. A new value is there a second later, as in faasd, where the
files themselves are mounted (OpenFaaS wire contract §1.4).
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import trio

from faasd_py.api import ConfigError, RuntimeSite

log: Final = logging.getLogger("faasd_py_podman")
_LOOK: Final = 1.0
"""Seconds between two looks at the files."""
_State = tuple[int, int, int]


class Copies:
    """The copies of one container; `path` is what is mounted."""

    def __init__(self, site: RuntimeSite, directory: Path) -> None:
        """Make them.

        Raises:
            ConfigError: a secret cannot be read.
        """
        self.path = directory / "secrets"
        self._site = site
        self._copied: dict[str, _State] = {}
        self.path.mkdir()
        self.path.chmod(0o755)  # whatever our umask is
        for name in site.settings.secrets:
            try:
                self._copy(name)
            except OSError as error:
                raise ConfigError(f"functions.{site.name}.secrets: {name}: {error.strerror}") from error

    async def follow(self) -> None:
        """Copy what is changed, for ever. A secret that is removed stays with those that have it."""
        while True:
            await trio.sleep(_LOOK)
            self._look()

    def _look(self) -> None:
        for name in self._site.settings.secrets:
            try:
                if _state(self._site.secrets / name) != self._copied[name]:
                    self._copy(name)
            except FileNotFoundError:
                continue
            except OSError as error:
                log.warning(
                    "secret %s of function %s stays as it was: %s", name, self._site.name, error.strerror
                )

    def _copy(self, name: str) -> None:
        """Whoever opens it reads the old value or the new one, never a part."""
        state = _state(self._site.secrets / name)
        new = self.path.with_suffix(".new")
        new.write_bytes((self._site.secrets / name).read_bytes())
        new.chmod(0o444)
        new.rename(self.path / name)
        self._copied[name] = state


def _state(path: Path) -> _State:
    """What tells two values of a file apart; a link is what it leads to (systemd exchanges those)."""
    found = os.stat(path)  # noqa: PTH116 - names of secrets are joined already
    return found.st_ino, found.st_mtime_ns, found.st_size
