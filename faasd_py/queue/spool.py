"""Large bodies in files: `Spool` is where they arrive, `BodyStore` is where a store keeps those it has taken over.

A file is complete and on stable storage before anybody refers to it, and removed after nobody does; what a crash
leaves in between is swept when the store opens.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final, TypeVar

import trio

from faasd_py.core.call import Spooled
from faasd_py.core.errors import QueueUnavailable

PIECE: Final = 256 << 10
T = TypeVar("T")


def sync_directory(directory: Path) -> None:
    """Make the names in a directory survive a power cut."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class SpoolWriter:
    """One file while it is being written."""

    def __init__(self, path: Path, handle: int) -> None:
        self._path = path
        self._handle = handle
        self._size = 0
        self.committed = False

    async def write(self, data: bytes) -> None:
        """Append to the file.

        Raises:
            QueueUnavailable: the disk is full or failing.
        """
        await _in_thread(self._write, data)
        self._size += len(data)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._handle, rest) :]

    async def commit(self) -> Spooled:
        """The body, on stable storage; from now on the file is the caller's.

        Raises:
            QueueUnavailable: the disk is full or failing.
        """
        await _in_thread(self._commit)
        self.committed = True
        return Spooled(path=str(self._path), size=self._size)

    def _commit(self) -> None:
        os.fsync(self._handle)
        sync_directory(self._path.parent)

    def close(self) -> None:
        """Close the file; one that was not committed is removed."""
        os.close(self._handle)
        if not self.committed:
            self._path.unlink(missing_ok=True)


class SpoolReader:
    """A spooled body as a `Source`: pieces of 256 KiB, read in threads."""

    def __init__(self, body: Spooled) -> None:
        self._path = body.path
        self._at = 0

    async def read(self) -> bytes:
        """The next piece; empty at the end.

        Raises:
            QueueUnavailable: the file cannot be read.
        """
        piece = await _in_thread(self._read)
        self._at += len(piece)
        return piece

    def _read(self) -> bytes:
        handle = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(handle, PIECE, self._at)
        finally:
            os.close(handle)


class Spool:
    """The directory in which bodies arrive. A body belongs to whoever committed it until a queue has taken it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    @asynccontextmanager
    async def writer(self) -> AsyncIterator[SpoolWriter]:
        """A new file to write to; leaving without a commit removes it.

        Raises:
            QueueUnavailable: the disk is full or failing.
        """
        path = self._directory / f"{uuid.uuid4().hex}.part"
        handle = await _in_thread(os.open, path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        writer = SpoolWriter(path, handle)
        try:
            yield writer
        finally:
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(writer.close)

    def reader(self, body: Spooled) -> SpoolReader:
        """The body's bytes, from the beginning."""
        return SpoolReader(body)

    async def remove(self, body: Spooled) -> None:
        """Remove a body that no queue has taken; one that is gone already is no error. Not to be cancelled."""
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(unlink, Path(body.path))

    def sweep(self, known: Iterable[str] = ()) -> int:
        """Remove every file but the known paths: at start, nobody else can own one. How many it were. Blocks."""
        keep = set(known)
        return sum(unlink(path) for path in _files(self._directory) if str(path) not in keep)


class BodyStore:
    """The bodies a store keeps: one file a call, named by the call's key. Blocks: for the store's own thread."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def path(self, key: int) -> Path:
        """Where the body of this call lies."""
        return self.directory / f"{key:016x}"

    def take(self, body: Spooled, key: int) -> Spooled:
        """Move a spooled body here; `sync` makes the move last.

        Raises:
            OSError: it is not there, or cannot be moved; it stays where it was.
        """
        place = self.path(key)
        Path(body.path).rename(place)
        return Spooled(path=str(place), size=body.size)

    def give_back(self, body: Spooled, key: int) -> None:
        """Undo `take`: the body lies again where its owner put it."""
        with suppress(OSError):
            self.path(key).rename(body.path)

    def sync(self) -> None:
        """Make what was moved here last."""
        sync_directory(self.directory)

    def remove(self, key: int) -> None:
        """Remove a body; one that is gone already is no error."""
        unlink(self.path(key))

    def present(self) -> Iterator[int]:
        """The calls whose bodies lie here."""
        for path in _files(self.directory):
            with suppress(ValueError):
                yield int(path.name, 16)


def unlink(path: Path) -> bool:
    """Remove a file; whether it was there and is gone."""
    try:
        path.unlink()
    except OSError:
        return False
    return True


def _files(directory: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from (path for path in directory.iterdir() if path.is_file())


async def _in_thread(work: Callable[..., T], *arguments: object) -> T:
    try:
        return await trio.to_thread.run_sync(work, *arguments)
    except OSError as error:
        raise QueueUnavailable(f"a large body cannot be stored: {error.strerror}") from error
