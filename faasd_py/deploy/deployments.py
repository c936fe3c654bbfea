"""Deployments on disk: a file `NAMESPACE/NAME.json` for each, whole or not at all, read once at the start.

A file that cannot be read is set aside as `NAME.json.damaged`; as long as it lies there, its function is one in trouble,
until it is deployed again or removed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py.core import names
from faasd_py.core.deployment import FunctionDeployment
from faasd_py.core.errors import StoreFailed
from faasd_py.deploy import files

DAMAGED: Final = ".damaged"
_log: Final = logging.getLogger("faasd_py.deploy")


class Deployment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is kept of a deployed function: what was sent, since when it is there, to how many replicas it was scaled.

    `created_at` is in seconds since 1970. `damage` says why nothing can be told of it.
    """

    name: str
    namespace: str
    sent: FunctionDeployment
    created_at: float
    replicas: int | None = None
    damage: str = ""

    @property
    def label(self) -> str:
        """NAME.NAMESPACE."""
        return f"{self.name}.{self.namespace}"


class Deployments:
    """The files below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stable: dict[str, Deployment] = {}
        """What is known to be on stable storage, by label."""

    async def put(self, deployment: Deployment) -> None:
        """Keep it, in the place of the one of the same label; on stable storage when this returns.

        What lies there already is not written again.

        Raises:
            StoreFailed: the disk would not take it; what was there is untouched.
        """
        path, label = self._path(deployment.name, deployment.namespace), deployment.label
        stable = self._stable.pop(label, None) == deployment
        await _in_thread(f"function {label} cannot be kept", lambda: _put(path, deployment, stable=stable))
        self._stable[label] = deployment

    async def remove(self, name: str, namespace: str) -> None:
        """Take it away; it stays away. One that is not there is no error.

        Raises:
            StoreFailed: the disk would not have it.
        """
        path = self._path(name, namespace)
        self._stable.pop(f"{name}.{namespace}", None)
        await _in_thread(f"function {name}.{namespace} cannot be removed", lambda: _remove(path))

    def load(self) -> list[Deployment]:
        """All of them, damaged ones too. Blocks: for the start.

        Raises:
            OSError: the directory cannot be used.
        """
        files.make_directory(self._directory)
        found: dict[str, Deployment] = {}
        for directory in sorted(path for path in self._directory.iterdir() if path.is_dir()):
            files.sweep(directory)
            for path in sorted(directory.iterdir()):
                deployment = _read(path)
                if deployment is not None:
                    found.setdefault(deployment.label, deployment)  # NAME.json comes before NAME.json.damaged
        return list(found.values())

    def look(self) -> list[Deployment]:
        """All of them as `load` has them, but nothing is touched. Blocks."""
        found = []
        for path in sorted(self._directory.glob("*/*.json")):
            with suppress(OSError, ValueError, RecursionError):
                found.append(_decode(path))
        return found

    def _path(self, name: str, namespace: str) -> Path:
        if not namespace or "/" in namespace or namespace.startswith("."):
            raise ValueError(f"no namespace: {namespace!r}")
        return self._directory / namespace / f"{names.check(name)}.json"


def _put(path: Path, deployment: Deployment, *, stable: bool) -> None:
    data = msgspec.json.format(msgspec.json.encode(deployment))
    with suppress(OSError):  # somebody may have touched it
        if stable and path.read_bytes() == data:
            return
    files.make_directory(path.parent)
    files.write(path, data)
    with suppress(OSError):
        _aside(path).unlink()


def _remove(path: Path) -> None:
    for one in (path, _aside(path)):
        with suppress(FileNotFoundError):
            files.remove(one)


def _aside(path: Path) -> Path:
    return path.with_name(path.name + DAMAGED)


def _read(path: Path) -> Deployment | None:
    """What a file holds; None when it is none of ours."""
    if path.name.endswith(f".json{DAMAGED}"):
        return _damaged(path, path.name.removesuffix(f".json{DAMAGED}"))
    if path.suffix != ".json":
        return None
    try:
        return _decode(path)
    except (OSError, ValueError, RecursionError) as error:
        aside = _aside(path)
        _log.error("%s is set aside as %s, for it cannot be read: %s", path, aside.name, error)
        with suppress(OSError):
            path.replace(aside)
        return _damaged(aside, path.stem)


def _decode(path: Path) -> Deployment:
    deployment = msgspec.json.decode(path.read_bytes(), type=Deployment)
    if (names.check(deployment.name), deployment.namespace) != (path.stem, path.parent.name):
        raise ValueError(f"it is of {deployment.label}")
    return deployment


def _damaged(path: Path, name: str) -> Deployment | None:
    try:
        names.check(name)
    except ValueError:
        return None
    namespace = path.parent.name
    return Deployment(
        name=name,
        namespace=namespace,
        sent=FunctionDeployment(service=name, namespace=namespace),
        created_at=0.0,
        damage=f"what was deployed cannot be read, it is set aside as {path}: deploy it again, or remove it",
    )


async def _in_thread(failure: str, work: Callable[[], None]) -> None:
    try:
        await trio.to_thread.run_sync(work)
    except OSError as error:
        raise StoreFailed(f"{failure}: {error.strerror}") from error
