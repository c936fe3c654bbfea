"""The daemon takes the descriptors it may have, and callers never get all of them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from faasd_py.daemon.descriptors import RESERVE, affordable


@pytest.mark.parametrize(
    ("wanted", "descriptors", "had"),
    [
        (4096, 65536, 4096),
        (4096, 1024, 480),
        (4096, 100, 18),
        (10, 1024, 10),
        (4096, RESERVE, 1),
        (4096, 3, 1),
    ],
)
def test_connections_are_as_many_as_descriptors_allow(wanted: int, descriptors: int, had: int) -> None:
    """Two a connection, and a reserve for the store, the control plane and new processes."""
    assert affordable(wanted, descriptors) == had


def test_the_limit_is_raised_to_the_hard_one() -> None:
    """In a process of its own: the soft limit becomes the hard one, and a second time changes nothing."""
    code = (
        "import resource; from faasd_py.daemon import descriptors as d;"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300)); d.raise_limit(); d.raise_limit(); print(d.limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "300\n"
