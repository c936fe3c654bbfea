"""A wall clock that can be set: $CLOCK_OFFSET names a file with the seconds by which it is wrong.

Python imports this module at its start when its folder is in $PYTHONPATH. The monotonic clock stays as it is.
"""

import os
import time
from pathlib import Path

_time, _time_ns = time.time, time.time_ns
_file = Path(os.environ["CLOCK_OFFSET"])


def _offset():
    try:
        return int(_file.read_text() or 0)
    except (OSError, ValueError):
        return 0


time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + _offset() * 1_000_000_000
