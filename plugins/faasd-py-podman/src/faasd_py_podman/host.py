"""What podman said of its host: its version, the limits that can be enforced, and those that are given to everything."""

from __future__ import annotations

import re
import resource
from typing import Any, Final

import msgspec

from faasd_py.api import PluginError, RuntimeSite
from faasd_py_podman.options import PLACE
from faasd_py_podman.rest import Rest

OLDEST: Final = (4, 0)
_CONTROLLERS: Final = {"memory": "memory", "cpu": "cpu", "pids": "pids"}
"""Which controller of control groups enforces a limit."""
_MOST_FILES: Final = 1 << 20
_MOST_PROCESSES: Final = 32_768
"""What podman leaves itself, and so can give."""


class Host(msgspec.Struct, frozen=True):
    """`controllers`: those that podman can use."""

    version: str
    controllers: frozenset[str]

    def unenforced(self, site: RuntimeSite) -> list[str]:
        """The limits of a function that cannot be enforced here."""
        limits = site.settings.limits
        return [
            key
            for key, controller in _CONTROLLERS.items()
            if getattr(limits, key) is not None and controller not in self.controllers
        ]


async def look(rest: Rest) -> Host:
    """Ask podman.

    Raises:
        PluginError: it is too old, or rootless.
        PodmanError: it does not answer.
    """
    info = await rest.ask("/info")
    version = str(info.get("version", {}).get("Version", ""))
    if (found := _numbers(version)) < OLDEST:
        oldest, is_now = ".".join(map(str, OLDEST)), version or found
        raise PluginError(f"{PLACE}: podman {oldest} or newer is needed, this is {is_now}")
    host = info.get("host", {})
    if host.get("security", {}).get("rootless"):
        raise PluginError(
            f"{PLACE}: this podman is a user's own (rootless), whose containers only that user's programs can reach; "
            f"run the daemon as root, or name the socket of root's podman"
        )
    return Host(version, frozenset(host.get("cgroupControllers") or ()))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version)[:2])


def rlimits(open_files: int | None) -> list[dict[str, Any]]:
    """For the create call: at most what this process may have, for podman's own defaults may be more, and then fail."""
    files = _most(resource.RLIMIT_NOFILE, _MOST_FILES)
    if open_files is not None:
        files = min(files, open_files)
    processes = _most(resource.RLIMIT_NPROC, _MOST_PROCESSES)
    return [
        {"type": kind, "soft": value, "hard": value}
        for kind, value in (("nofile", files), ("nproc", processes))
    ]


def _most(which: int, most: int) -> int:
    hard = resource.getrlimit(which)[1]
    return most if hard == resource.RLIM_INFINITY else min(hard, most)
