"""Secrets as files, mode 0600: values go in, and are never shown again (wire contract §1.4).

Those of the default namespace lie in a directory that operators and systemd put files into as well.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import trio

from faasd_py.core.errors import BadRequest, Conflict, NotFound, StoreFailed
from faasd_py.deploy import files
from faasd_py.deploy.namespaces import Namespaces

MAX_VALUE: Final = 1 << 20
"""Bytes."""
MAX_NAME: Final = 253
_NAME: Final = re.compile(r"[a-zA-Z0-9_][-._a-zA-Z0-9]*", re.ASCII)


class Secrets:
    """The secrets of all namespaces; `default` is the directory of the default namespace's."""

    def __init__(self, namespaces: Namespaces, default: Path) -> None:
        self._namespaces = namespaces
        self._default = default
        self._turn = trio.Lock()

    def directory(self, namespace: str) -> Path:
        """Where a namespace's secrets lie, one file each; it may not be there yet."""
        if namespace == self._namespaces.default:
            return self._default
        return self._namespaces.place(namespace) / "secrets"

    def missing(self, names: list[str], namespace: str) -> str | None:
        """The first of these secrets that is not there."""
        directory = self.directory(namespace)
        return next((name for name in names if not _is_name(name) or not (directory / name).is_file()), None)

    async def names(self, namespace: str) -> list[str]:
        """What there is, by name.

        Raises:
            BadRequest: there is no such namespace.
        """
        return await trio.to_thread.run_sync(_names, self._in(namespace))

    async def create(self, name: str, namespace: str, value: bytes) -> None:
        """Keep a new secret.

        Raises:
            BadRequest: the name, the value or the namespace is not usable.
            Conflict: there is one of this name.
            StoreFailed: the disk would not take it.
        """
        _check(name, value)
        async with self._turn:
            path = self._in(namespace) / name
            if path.is_symlink() or path.exists():
                raise Conflict(f"secret {name} already exists in namespace {namespace}")
            await _write(path, value)

    async def update(self, name: str, namespace: str, value: bytes) -> None:
        """Replace a secret; who opens the file from now on reads the new value.

        Raises:
            BadRequest, StoreFailed: as `create`.
            NotFound: there is none of this name.
            Conflict: it is a link, which somebody else looks after.
        """
        _check(name, value)
        async with self._turn:
            await _write(self._own(name, namespace), value)

    async def remove(self, name: str, namespace: str) -> None:
        """Remove a secret.

        Raises:
            BadRequest, NotFound, Conflict, StoreFailed: as `update`.
        """
        _check(name, b"")
        async with self._turn:
            path = self._own(name, namespace)
            try:
                await trio.to_thread.run_sync(files.remove, path)
            except OSError as error:
                raise StoreFailed(f"secret {name} cannot be removed: {error.strerror}") from error

    def _in(self, namespace: str) -> Path:
        if namespace not in self._namespaces:
            raise BadRequest(f"namespace not valid: there is no namespace {namespace[:80]!r}")
        return self.directory(namespace)

    def _own(self, name: str, namespace: str) -> Path:
        path = self._in(namespace) / name
        if path.is_symlink():
            raise Conflict(f"secret {name} is a link to {path.readlink()}: it is changed there, not here")
        if not path.is_file():
            raise NotFound(f"secret {name} not found in namespace {namespace}")
        return path


def _is_name(name: str) -> bool:
    return len(name) <= MAX_NAME and _NAME.fullmatch(name) is not None


def _check(name: str, value: bytes) -> None:
    if not name.strip():
        raise BadRequest("non-empty name is required")
    if "/" in name or ".." in name:
        raise BadRequest("secret name: '/' and '..' are not allowed, for it is the name of a file")
    if not _is_name(name):
        raise BadRequest(
            f"secret name: expected up to {MAX_NAME} letters, digits, '-', '_' and '.', got {name[:80]!r}"
        )
    if len(value) > MAX_VALUE:
        raise BadRequest(f"secret {name}: a value has at most {MAX_VALUE} bytes, got {len(value)}")


def _names(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    return sorted(entry.name for entry in directory.iterdir() if _is_name(entry.name) and entry.is_file())


async def _write(path: Path, value: bytes) -> None:
    try:
        await trio.to_thread.run_sync(files.make_directory, path.parent)
        await trio.to_thread.run_sync(files.write, path, value)
    except OSError as error:
        raise StoreFailed(f"secret {path.name} cannot be kept: {error.strerror}") from error
