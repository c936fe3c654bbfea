"""The lanes that are paused: a file in the state directory, so that a restart, or a crash, does not set them going."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py.core.errors import BootError, StoreFailed
from faasd_py.deploy import files

NAME: Final = "paused.json"
"""What the file is called."""


class _File(msgspec.Struct, frozen=True):
    """What it holds: since when, in seconds since 1970, by lane."""

    paused: dict[str, float]


class Paused:
    """Which lanes, and since when. Without a path they are forgotten with the process."""

    def __init__(self, path: Path | None = None, since: Mapping[str, float] | None = None) -> None:
        self._path = path
        self._since = dict(since or {})
        self._writing = trio.Lock()
        self._resumed = trio.Event()
        """Set when a lane goes on; each time it is another one."""

    def __contains__(self, lane: str) -> bool:
        return lane in self._since

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._since))

    def since(self) -> Mapping[str, float]:
        """When each was paused, in seconds since 1970."""
        return dict(self._since)

    async def wait_resumed(self, lane: str) -> None:
        """Until the lane is not paused; no checkpoint if it is not now."""
        while lane in self._since:
            await self._resumed.wait()

    async def add(self, lane: str, now: float, then: Callable[[str], None]) -> bool:
        """The lane is paused from now on, and `then` is told; on stable storage when this returns. Whether it was not.

        Raises:
            StoreFailed: it cannot be written; nothing has changed.
        """
        async with self._writing:
            if lane in self._since:
                return False
            await self._write(self._since | {lane: now})
            then(lane)
            return True

    async def remove(self, lane: str, then: Callable[[str], None]) -> bool:
        """The lane goes on; as `add`."""
        async with self._writing:
            if lane not in self._since:
                return False
            await self._write({name: at for name, at in self._since.items() if name != lane})
            then(lane)
            self._resumed.set()
            self._resumed = trio.Event()
            return True

    async def _write(self, since: dict[str, float]) -> None:
        if self._path is not None:
            data = msgspec.json.encode(_File(since))
            try:
                await trio.to_thread.run_sync(files.write, self._path, data)
            except OSError as error:
                reason = error.strerror or str(error)
                raise StoreFailed(f"{self._path} cannot be written: {reason}") from error
        self._since = since


def open_paused(path: Path) -> Paused:
    """As the file says; nothing is paused when there is none.

    Raises:
        BootError: it cannot be read: to let everything run that somebody paused would be worse.
    """
    try:
        found = msgspec.json.decode(path.read_bytes(), type=_File)
    except FileNotFoundError:
        return Paused(path)
    except OSError as error:
        raise BootError(f"{path}: cannot be read: {os.strerror(error.errno or 0)}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BootError(
            f"{path}: does not say which lanes are paused ({error}); remove it to let all of them run"
        ) from error
    return Paused(path, found.paused)
