"""Room set aside for the day the disk is full: given up then, so that what was accepted can still be settled."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

SIZE: Final = 8 << 20


class Ballast:
    """A file of SIZE bytes beside the store. Blocks: for the commit thread."""

    def __init__(self, path: Path, size: int = SIZE) -> None:
        self._path = path
        self._size = size

    def make(self) -> bool:
        """Set the room aside; False when there is none."""
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False
        try:
            os.posix_fallocate(handle, 0, self._size)
        except OSError:
            self.release()
            return False
        finally:
            os.close(handle)
        return True

    def release(self) -> None:
        """Give the room up."""
        with suppress(OSError):
            self._path.unlink()
