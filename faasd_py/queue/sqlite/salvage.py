"""Saving what can be read from a damaged file into a new one; the damaged one is kept beside it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

logger: Final = logging.getLogger("faasd_py.queue")


def salvage(path: Path) -> None:
    """To be written."""
    raise NotImplementedError(str(path))
