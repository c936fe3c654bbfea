"""What this machine can enforce: found out once, without changing anything."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from faasd_py.runtime.confine import cgroup, identity, landlock, seccomp
from faasd_py.runtime.confine.unit import Unit

_ROOT: Final = Path("/sys/fs/cgroup/cgroup.controllers")


class Host(msgspec.Struct, frozen=True, kw_only=True):
    """For each bound: empty when it can be put in force, else the reason why not."""

    memory: str = ""
    cpu: str = ""
    pids: str = ""
    user: str = ""
    files: str = ""
    system_calls: str = ""
    landlock: int = 0
    """The version of the kernel's interface."""

    def lacks(self, key: str) -> str:
        """Why the bound of this name cannot be put in force; empty: it can."""
        return str(getattr(self, key))

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """For a person: what is bounded, `yes` or `no`, and by what or why not."""
        means = {
            "memory": "cgroup v2",
            "cpu": "cgroup v2",
            "pids": "cgroup v2",
            "user": "setuid",
            "files": f"landlock, version {self.landlock}",
            "system_calls": "seccomp",
        }
        for key, by in means.items():
            reason = self.lacks(key)
            yield key.replace("_", " "), "no" if reason else "yes", reason or by


def without_groups() -> Host:
    """What needs no control groups."""
    version = landlock.version()
    return Host(
        user="" if identity.may_switch() else "the daemon is not root, and has no CAP_SETUID and CAP_SETGID",
        files="" if version else "this kernel has no landlock, or it is switched off",
        system_calls="" if seccomp.available() else "this kernel has no seccomp filters for this machine",
        landlock=version,
    )


def with_groups(host: Host, controllers: set[str], reason: str) -> Host:
    """The same with what control groups can do: these controllers, or none for a reason."""
    lacking = {
        key: reason or f"the kernel gives no {key} controller to cgroup v2 here"
        for key in cgroup.CONTROLLERS
        if key not in controllers
    }
    return msgspec.structs.replace(host, **lacking)


def probe(name: str, unit: Unit | None = None) -> Host:
    """What a daemon could do that ran here now: with this unit of systemd's, else as who asks.

    Without a unit, where systemd runs, groups are those of a service with Delegate=yes.

    `name` is the daemon's state directory.
    """
    if unit is not None:
        found = msgspec.structs.replace(without_groups(), user=unit.user_lacks)
        return with_groups(found, set() if unit.groups_lack else _given(), unit.groups_lack)
    place = cgroup.survey(name)
    if place.path is None and Path("/run/systemd/system").is_dir() and _given():
        return with_groups(without_groups(), _given(), "")
    return with_groups(without_groups(), place.controllers(), place.reason)


def _given() -> set[str]:
    """The controllers that systemd can hand on: those of cgroup v2 where it is the only one (systemd's "unified hierarchy")."""
    try:
        return set(_ROOT.read_text("ascii").split())
    except OSError:
        return set()
