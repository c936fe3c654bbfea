"""The namespaces: the default one, which is always there, and those made over the REST API (wire contract §1.4).

A namespace is a file `NAME.json` in its directory, and a directory `NAME/` beside it for what belongs to it.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py.core.errors import BadRequest, Conflict, NotFound, StoreFailed
from faasd_py.deploy import files

MARK: Final = "openfaas"
"""The label that a namespace must carry to be one of OpenFaaS'."""
_NAME: Final = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", re.ASCII)
"""A label of RFC 1123: no dots, because NAME.NAMESPACE is split at the last one."""
_log: Final = logging.getLogger("faasd_py.deploy")


class Namespace(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """OpenFaaS' FunctionNamespace (wire contract §1.2)."""

    name: str = ""
    annotations: dict[str, str] | None = None
    labels: dict[str, str] | None = None


class Namespaces:
    """All namespaces of a daemon; `open_namespaces` makes it. Changes are on stable storage before they are seen."""

    def __init__(self, directory: Path, default: str, found: dict[str, Namespace]) -> None:
        self.default = default
        self._directory = directory
        self._found = found
        self._turn = trio.Lock()

    def __contains__(self, name: object) -> bool:
        return name == self.default or name in self._found

    def names(self) -> list[str]:
        """The default one first, then the others by name."""
        return [self.default, *sorted(self._found.keys() - {self.default})]

    def get(self, name: str) -> Namespace:
        """One of them.

        Raises:
            NotFound: there is none of this name.
        """
        if name == self.default:
            return Namespace(name=name, labels={MARK: "1"}, annotations={MARK: "1"})
        if name not in self._found:
            raise NotFound(f"namespace {name[:80]} not found")
        return self._found[name]

    def place(self, name: str) -> Path:
        """The directory for what belongs to a namespace that is not the default one."""
        return self._directory / name

    async def create(self, new: Namespace) -> None:
        """Make a namespace.

        Raises:
            BadRequest: its name or labels are not as they must be.
            Conflict: it is there already.
            StoreFailed: the disk would not take it.
        """
        _check(new)
        async with self._turn:
            if new.name in self:
                raise Conflict(f"namespace {new.name} already exists")
            await self._write(new)

    async def update(self, new: Namespace) -> None:
        """Replace labels and annotations.

        Raises:
            BadRequest, NotFound, StoreFailed: as `create` and `get`; the default one cannot be changed (Conflict).
        """
        _check(new)
        async with self._turn:
            self._changeable(new.name)
            await self._write(new)

    async def remove(self, name: str, in_use: Callable[[str], str | None]) -> None:
        """Remove a namespace with its secrets; `in_use` says why it must stay.

        Raises:
            NotFound: there is none of this name.
            Conflict: it is the default one, or in use.
            StoreFailed: the disk would not have it.
        """
        async with self._turn:
            self._changeable(name)
            if reason := in_use(name):
                raise Conflict(reason)
            old = self._found.pop(name)  # nothing new is put into it meanwhile
            try:
                await trio.to_thread.run_sync(files.remove, self._file(name))
            except OSError as error:
                self._found[name] = old
                raise StoreFailed(f"namespace {name} cannot be removed: {error.strerror}") from error
            await trio.to_thread.run_sync(_clear, self.place(name))

    def _changeable(self, name: str) -> None:
        if name == self.default:
            raise Conflict(f"namespace {name} is the default one: it cannot be changed or removed")
        self.get(name)

    async def _write(self, new: Namespace) -> None:
        try:
            await trio.to_thread.run_sync(files.write, self._file(new.name), msgspec.json.encode(new))
        except OSError as error:
            raise StoreFailed(f"namespace {new.name} cannot be kept: {error.strerror}") from error
        self._found[new.name] = new

    def _file(self, name: str) -> Path:
        return self._directory / f"{name}.json"


def open_namespaces(directory: Path, default: str) -> Namespaces:
    """What is kept in `directory`, which is made if need be; a file that cannot be read is set aside and logged.

    Raises:
        OSError: the directory cannot be used.
    """
    files.make_directory(directory)
    files.sweep(directory)
    found = {}
    for file in sorted(directory.glob("*.json")):
        try:
            namespace = msgspec.json.decode(file.read_bytes(), type=Namespace)
            _check(namespace)
            if namespace.name != file.stem:
                raise BadRequest(f"it is called {namespace.name}")  # noqa: TRY301 - set aside like any other
        except (OSError, ValueError, BadRequest) as error:
            _log.error("%s is set aside, as it cannot be read: %s", file, error)
            file.replace(file.with_suffix(".damaged"))
            continue
        found[namespace.name] = namespace
    for rest in directory.iterdir():  # removed, but a crash came before its secrets were
        if rest.is_dir() and rest.name not in found and not rest.with_suffix(".damaged").exists():
            _clear(rest)
    return Namespaces(directory, default, found)


def _check(namespace: Namespace) -> None:
    if not _NAME.fullmatch(namespace.name):
        raise BadRequest(
            f"namespace not valid: a name is 1 to 63 of a-z, 0-9 and '-', got {namespace.name[:80]!r}"
        )
    if (namespace.labels or {}).get(MARK) not in {"1", "true"}:
        raise BadRequest("request does not have openfaas=1 label")


def _clear(directory: Path) -> None:
    if directory.is_dir():
        shutil.rmtree(directory, onerror=_not_removed)


def _not_removed(_function: object, path: str, error: object) -> None:
    _log.error("%s cannot be removed: %s", path, error[1] if isinstance(error, tuple) else error)
