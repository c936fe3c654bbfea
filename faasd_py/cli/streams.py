"""Standard streams that are always there: whoever starts a daemon may have closed them."""

from __future__ import annotations

import os
import sys


def open_standard_streams() -> None:
    """Put /dev/null where stdin, stdout or stderr is closed, so that no socket or store becomes one of them."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.dup2(null := os.open(os.devnull, os.O_RDWR), fd)
            if null > 2:
                os.close(null)
    if sys.stdin is None:
        sys.stdin = os.fdopen(0, "r", closefd=False)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)
