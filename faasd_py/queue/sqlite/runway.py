"""Room for the log, laid out ahead: a commit that overwrites syncs twice as fast as one that makes the file grow."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

SIZE: Final = 9 << 20
"""A little more than the log has when it is begun anew (`wal_autocheckpoint`)."""


def lay_out(log: Path, size: int = SIZE) -> bool:
    """Fill a log up to `size` bytes with zeros, which SQLite takes for its end; False when there is no room. Blocks.

    Nobody else may write to the log meanwhile; reading it is no harm.
    """
    try:
        handle = os.open(log, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    end = os.fstat(handle).st_size
    try:
        while (at := os.fstat(handle).st_size) < size:
            os.pwrite(handle, bytes(min(size - at, 1 << 20)), at)
        os.fsync(handle)
    except OSError:
        os.ftruncate(handle, end)
        return False
    finally:
        os.close(handle)
    return True
