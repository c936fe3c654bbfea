"""From a function's settings to the bounds of its processes, and everything that stands against them beforehand."""

from __future__ import annotations

import grp
import os
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from faasd_py.config import FunctionSettings
from faasd_py.core.durations import format_size
from faasd_py.hookspecs import RuntimeSite
from faasd_py.runtime.confine.cgroup import cpu_max
from faasd_py.runtime.confine.host import Host
from faasd_py.runtime.confine.identity import Identity

if TYPE_CHECKING:
    from faasd_py.runtime.confine.runner import Files, Spec

LIMITS: Final = ("memory", "cpu", "pids")
FALLBACK: Final = {"memory": "holds here for the address space of each process only"}
NONE: Final = "is not enforced here"
"""What becomes of a limit that control groups would hold, where there are none."""
_RUNNER: Final = 1
"""Processes of a group that are not the function's: the runner itself."""
SYSTEM: Final = (
    "/bin", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/opt", "/proc", "/run/current-system",
    "/run/resolvconf", "/run/systemd/resolve", "/sbin", "/sys", "/usr", "/var/lib/ca-certificates",
)  # fmt: skip
"""What every program may read of a system."""
HIDDEN: Final = (
    "/etc/NetworkManager", "/etc/faasd-py", "/etc/gshadow", "/etc/gshadow-", "/etc/krb5.keytab", "/etc/security/opasswd",
    "/etc/shadow", "/etc/shadow-", "/etc/ssh", "/etc/ssl/private", "/etc/sudoers", "/etc/sudoers.d", "/etc/wireguard",
    "/etc/wpa_supplicant",
)  # fmt: skip
"""And what of it is nobody's business."""
SCRATCH: Final = (
    "/tmp", "/var/tmp", "/dev/full", "/dev/null", "/dev/ptmx", "/dev/pts", "/dev/random", "/dev/shm", "/dev/tty",  # noqa: S108 - the functions', as ever
    "/dev/urandom", "/dev/zero",
)  # fmt: skip
"""Where every function may write."""


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner is to put in force. `key` is the function's for as long as it is open, `name` is for people."""

    key: str
    name: str
    limits: dict[str, str]
    """Of the control group: file → value."""
    memory: str = ""
    """The limit of memory as a person wrote it."""
    identity: Identity | None
    address_space: int
    files: Files | None
    filter: bool
    network: bool

    def spec(self, group: Path | None) -> Spec:
        """What the runner is told."""
        return {
            "group": os.fsencode(group) if group else b"",
            "identity": self.identity,
            "address_space": self.address_space,
            "files": self.files,
            "filter": self.filter,
            "network": self.network,
        }


def asked(settings: FunctionSettings) -> bool:
    """Whether the function's processes are to be confined at all."""
    limited = any(getattr(settings.limits, key) is not None for key in LIMITS)
    return (
        limited or settings.confine is not None or settings.read_only_root or not _is_ourselves(settings.user)
    )


def problems(place: str, settings: FunctionSettings, host: Host) -> Iterator[str]:
    """What keeps a function from being confined as it asks, each a sentence that begins with the key."""
    if not settings.limits.best_effort:
        for key in unenforced(settings, host):
            yield (
                f"{place}.limits.{key}: cannot be enforced here: {host.lacks(key)}; "
                f"limits.best_effort = true runs it without"
            )
    if not _is_ourselves(settings.user):
        yield from _no_such_user(place, settings, host)
    yield from _files_open(place, settings, host)


def unenforced(settings: FunctionSettings, host: Host) -> list[str]:
    """The limits that are asked for and that this machine cannot enforce."""
    return [key for key in LIMITS if getattr(settings.limits, key) is not None and host.lacks(key)]


def _no_such_user(place: str, settings: FunctionSettings, host: Host) -> Iterator[str]:
    if host.user:
        yield f"{place}.user: functions cannot run as {settings.user!r} here: {host.user}"
        return
    try:
        identity_of(settings.user)
    except LookupError as error:
        yield f"{place}.user: {error.args[0]}"


def _files_open(place: str, settings: FunctionSettings, host: Host) -> Iterator[str]:
    if settings.read_only_root and host.files:
        yield f"{place}.read_only_root: cannot be enforced here: {host.files}"
    if settings.confine is None:
        return
    for reason in filter(None, (host.files, host.system_calls)):
        yield f"{place}.confine: cannot be enforced here: {reason}"
    for key in ("read", "write"):
        for path in getattr(settings.confine, key):
            if not Path(path).exists():
                yield f"{place}.confine.{key}: there is no {path}"


def identity_of(user: str | None) -> Identity:
    """User, group and groups of `NAME`, `NAME:GROUP`, or their numbers.

    Raises:
        LookupError: there is no such user or group; the text says which.
    """
    name, _, group_name = (user or "").partition(":")
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        if not (name.isdecimal() and group_name.isdecimal()):
            raise LookupError(f"there is no user {name!r}") from None
        return int(name), int(group_name), [int(group_name)]
    if not group_name:
        return entry.pw_uid, entry.pw_gid, os.getgrouplist(entry.pw_name, entry.pw_gid)
    group = _group(group_name)
    return entry.pw_uid, group, [group]


def _group(name: str) -> int:
    if name.isdecimal():
        return int(name)
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        raise LookupError(f"there is no group {name!r}") from None


def _is_ourselves(user: str | None) -> bool:
    uid = os.geteuid()
    try:
        return user is None or user in {str(uid), pwd.getpwuid(uid).pw_name}
    except KeyError:
        return user == str(uid)


def home(bounds: Bounds | None) -> dict[str, str]:
    """What another user's environment says of him."""
    if bounds is None or bounds.identity is None:
        return {}
    try:
        entry = pwd.getpwuid(bounds.identity[0])
    except KeyError:
        return {"HOME": "/"}
    return {"HOME": entry.pw_dir, "USER": entry.pw_name, "LOGNAME": entry.pw_name}


def bounds_of(site: RuntimeSite, host: Host, closed: list[Path]) -> Bounds | None:
    """The bounds of a function's processes; None when it asks for none. `problems` has found nothing."""
    settings, limits = site.settings, site.settings.limits
    if not asked(settings):
        return None
    files: dict[str, str] = {}
    if limits.memory is not None and not host.memory:
        files["memory.max"] = str(int(limits.memory))
    if limits.cpu is not None and not host.cpu:
        files["cpu.max"] = cpu_max(limits.cpu)
    if limits.pids is not None and not host.pids:
        files["pids.max"] = str(limits.pids + _RUNNER)
    return Bounds(
        key=str(site.directory),
        name=f"{site.name}.{site.namespace}",
        limits=files,
        memory=format_size(limits.memory or 0) if "memory.max" in files else "",
        identity=None if _is_ourselves(settings.user) else identity_of(settings.user),
        address_space=int(limits.memory or 0) if host.memory else 0,
        files=None if host.files else _files(site, closed),
        filter=not host.system_calls,
        network=settings.confine is None or settings.confine.network,
    )


def _files(site: RuntimeSite, closed: list[Path]) -> Files:
    """Without `confine` all that the user may, but the daemon's own; with it the system, and what is listed."""
    settings, confine = site.settings, site.settings.confine
    walls = [*map(str, closed), *(HIDDEN if confine is not None else ())]
    if confine is not None:
        read, write = [*SYSTEM, *_of_command(settings), *confine.read], list(confine.write)
    else:
        read, write = ["/"], [settings.working_directory or "/"]
    if settings.read_only_root:
        write = list(confine.write) if confine is not None else []
    own = [path for path in (*read, *write) if any(_below(wall, path) for wall in walls)]
    everywhere = confine is None and not settings.read_only_root
    return {
        "read": _paths(read),
        "write": _paths(["/"] if everywhere else [*SCRATCH, *write]),
        "closed": _paths(walls),
        "read_only": _paths(["/sys"]),
        "own_read": _paths([path for path in own if path not in write]),
        "own_write": _paths([str(site.directory.absolute()), *(path for path in own if path in write)]),
        "listing": confine is not None,
    }


def _below(wall: str, path: str) -> bool:
    """Whether a path that the function's settings name lies within what is closed: it is meant, and granted."""
    return os.path.realpath(path).startswith(os.path.realpath(wall) + "/")


def _of_command(settings: FunctionSettings) -> list[str]:
    """The files that the command names, and its working directory."""
    words = [word for word in settings.command or () if word.startswith("/")]
    return [*words, settings.working_directory] if settings.working_directory else words


def _paths(words: list[str]) -> list[bytes]:
    return [os.fsencode(word) for word in words]
