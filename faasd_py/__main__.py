"""`python -m faasd_py` is `faasd-py`."""

from __future__ import annotations

import sys

from faasd_py.cli import main

if __name__ == "__main__":
    sys.exit(main())
