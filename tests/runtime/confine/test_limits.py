"""Limits by control groups, on a kernel that has them: one is booted for these checks, which are in inside.py."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from . import uml

pytestmark = pytest.mark.skipif(bool(uml.why_not()), reason=uml.why_not() or "never")
PROJECT = Path(__file__).parents[3]


def test_limits_hold(tmp_path):
    """Memory, cpu, pids: hogs, fork bombs, strays, killed runners and daemons; each check has its line."""
    said = uml.run(
        f"{shlex.quote(sys.executable)} -m tests.runtime.confine.inside", PROJECT, tmp_path / "out"
    )
    lines = said.splitlines()
    assert lines[-1] == "15 checks", said
    assert all(line.startswith("ok ") for line in lines[:-1]), said
