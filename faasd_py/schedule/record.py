"""The last slots on disk, for functions that catch up and for queues that know no idempotency keys."""

from __future__ import annotations

import logging
import os
from collections.abc import Container
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final

import msgspec
import trio

log: Final = logging.getLogger("faasd_py.schedule")


class Last(msgspec.Struct, frozen=True, array_like=True):
    """A function's last slot, in seconds since 1970, and the expressions that it was due by."""

    slot: float
    texts: tuple[str, ...]


class Record:
    """`<directory>/last.json`: exchanged as a whole and fsynced.

    What cannot be read is set aside and begun anew: at worst nothing is caught up.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "last.json"
        self._lasts: dict[str, Last] = _read(self._path)

    def __repr__(self) -> str:
        return f"<Record {len(self._lasts)} functions>"

    def last(self, label: str) -> float:
        """The function's last slot; minus infinite when it is not known."""
        known = self._lasts.get(label)
        return -inf if known is None else known.slot

    def knows(self, label: str, texts: tuple[str, ...]) -> bool:
        """The last slot was due by these expressions."""
        known = self._lasts.get(label)
        return known is not None and known.texts == texts

    def note(self, label: str, last: Last) -> None:
        """From now on this is the last one; `save` makes it safe."""
        self._lasts[label] = last

    def keep(self, labels: Container[str]) -> bool:
        """Forget all others; whether there were some."""
        gone = [label for label in self._lasts if label not in labels]
        for label in gone:
            del self._lasts[label]
        return bool(gone)

    async def save(self) -> None:
        """Returns when it is on stable storage.

        Raises:
            OSError: it is not.
        """
        data = msgspec.json.encode(self._lasts)
        await trio.to_thread.run_sync(_write, self._path, data)


def _read(path: Path) -> dict[str, Last]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Last])
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        aside = path.with_suffix(".damaged")
        log.error("%s cannot be read and is set aside as %s: %s", path, aside.name, error)  # noqa: TRY400
        with suppress(OSError):
            path.replace(aside)
        return {}


def _write(path: Path, data: bytes) -> None:
    new = path.with_suffix(".new")
    with new.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
