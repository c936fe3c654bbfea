"""The service as systemd has it on this box: whom its daemon would be, and what it is given. For who asks from outside."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

import msgspec

NAME: Final = "faasd-py.service"
_SYSTEMD: Final = Path("/run/systemd/system")
_KEYS: Final = ("LoadState", "User", "DynamicUser", "CapabilityBoundingSet", "Delegate")
_SWITCH: Final = {"cap_setuid", "cap_setgid"}
_PATIENCE: Final = 10.0


class Unit(msgspec.Struct, frozen=True, kw_only=True):
    """What a unit's file and drop-ins say of it. `user` is for people: a name, or that it has none of its own."""

    user: str
    root: bool
    capabilities: frozenset[str]
    delegate: bool

    @property
    def user_lacks(self) -> str:
        """Why its daemon cannot start programs as others; empty when it can."""
        if self.root and self.capabilities >= _SWITCH:
            return ""
        return f"{NAME} runs as {self.user}, without CAP_SETUID and CAP_SETGID"

    @property
    def groups_lack(self) -> str:
        """Why its daemon can make no control groups; empty when it can."""
        return "" if self.delegate else f"{NAME} is without Delegate=yes"


def look() -> Unit | None:
    """The unit; None where systemd does not run, has none of this name, or we are in it ourselves."""
    if not _SYSTEMD.is_dir() or (program := shutil.which("systemctl")) is None or _inside():
        return None
    command = [program, "show", f"--property={','.join(_KEYS)}", NAME]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse(done.stdout)


def _inside() -> bool:
    """Whether systemd started this process for that service: then what it can do itself is the truth."""
    return "INVOCATION_ID" in os.environ and f"/{NAME}" in Path("/proc/self/cgroup").read_text("utf-8")


def parse(shown: str) -> Unit | None:
    """What `systemctl show` says (systemctl(1): a `KEY=VALUE` a line); None when the unit is not there."""
    told = dict(line.split("=", 1) for line in shown.splitlines() if "=" in line)
    if told.get("LoadState") != "loaded":
        return None
    dynamic, user = told.get("DynamicUser") == "yes", told.get("User", "")
    return Unit(
        user="a user that is made for it" if dynamic else user or "root",
        root=not dynamic and user in {"", "root", "0"},
        capabilities=frozenset(told.get("CapabilityBoundingSet", "").split()),
        delegate=told.get("Delegate") == "yes",
    )
