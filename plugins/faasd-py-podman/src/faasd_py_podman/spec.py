"""Pure. From a function's settings to what podman is asked to create."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from faasd_py.api import RuntimeSite

PORT: Final = 8080
"""Where an OpenFaaS workload listens (OpenFaaS wire contract §5.5)."""
SECRETS: Final = "/var/openfaas/secrets"
OWNER: Final = "faasd-py.daemon"
FUNCTION: Final = "faasd-py.function"
_CPU_PERIOD: Final = 100_000


class Box(msgspec.Struct, frozen=True, kw_only=True):
    """What a container needs besides its function's settings."""

    name: str
    owner: str
    """The id of the daemon that the container belongs to."""
    image: str
    network: str
    capabilities: Sequence[str]
    log: Path
    secrets: Path | None
    tmp_size: int
    """Bytes."""
    rlimits: Sequence[Mapping[str, Any]]
    enforced: frozenset[str]
    """Those of the limits memory, cpu and pids that can be enforced here."""


def port_of(site: RuntimeSite) -> int:
    """Where the function listens in its container."""
    return site.settings.port or PORT


def spec(site: RuntimeSite, box: Box) -> dict[str, Any]:
    """The body of podman's create call."""
    settings, label = site.settings, f"{site.name}.{site.namespace}"
    return {
        "name": box.name,
        "image": box.image,
        "hostname": site.name[:63],
        "env": {"PORT": str(port_of(site)), **settings.environment},
        "labels": {**settings.labels, OWNER: box.owner, FUNCTION: label},
        "annotations": dict(settings.annotations),
        "netns": {"nsmode": "none"} if box.network == "none" else {"nsmode": "bridge"},
        **({} if box.network == "none" else {"Networks": {box.network: {}}}),
        **({"user": settings.user} if settings.user is not None else {}),
        **({"work_dir": settings.working_directory} if settings.working_directory is not None else {}),
        **_confinement(site, box),
        **_QUIET,
        "mounts": _mounts(site, box),
        "log_configuration": {"driver": "k8s-file", "path": str(box.log)},
    }


_QUIET: Final[Mapping[str, Any]] = {
    "terminal": False,
    "httpproxy": False,
    "sdnotifyMode": "ignore",
    "healthconfig": {"Test": ["NONE"]},
}
"""Nothing of the host's environment, no timers of systemd's, nobody to notify."""


def _confinement(site: RuntimeSite, box: Box) -> dict[str, Any]:
    return {
        "cap_drop": ["all"],
        "cap_add": [f"CAP_{name.removeprefix('CAP_')}" for name in box.capabilities],
        "no_new_privileges": True,
        "read_only_filesystem": site.settings.read_only_root,
        "r_limits": list(box.rlimits),
        "resource_limits": _limits(site, box.enforced),
    }


def _limits(site: RuntimeSite, enforced: frozenset[str]) -> dict[str, Any]:
    limits, wanted = site.settings.limits, {}
    if limits.memory is not None and "memory" in enforced:
        wanted["memory"] = {"limit": int(limits.memory)}
    if limits.cpu is not None and "cpu" in enforced:
        wanted["cpu"] = {"period": _CPU_PERIOD, "quota": max(1000, int(limits.cpu * _CPU_PERIOD))}
    if limits.pids is not None and "pids" in enforced:
        wanted["pids"] = {"limit": int(limits.pids)}
    return wanted


def _mounts(site: RuntimeSite, box: Box) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = []
    if site.settings.read_only_root:
        options = [f"size={box.tmp_size}", "mode=1777", "nosuid", "nodev"]
        mounts.append({"type": "tmpfs", "source": "tmpfs", "destination": "/tmp", "options": options})  # noqa: S108
    if box.secrets is not None:
        options = ["rbind", "ro", "nosuid", "nodev", "noexec"]
        mounts.append(
            {"type": "bind", "source": str(box.secrets), "destination": SECRETS, "options": options}
        )
    return mounts
