"""Control groups (cgroup v2): one for each confined function, below the one that this daemon was given.

The daemon itself moves into a leaf of its own first: a group that hands controllers on must have no processes of its
own (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"). What is written here are files of a few
bytes in memory.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec
import trio

log: Final = logging.getLogger("faasd_py.runtime")
CONTROLLERS: Final = ("memory", "cpu", "pids")
LEAF: Final = "daemon"
_PREFIX: Final = "function-"
_PERIOD: Final = 100_000
_LEAST_QUOTA: Final = 1_000
_EMPTY_WITHIN: Final = 5.0
_POLL: Final = 0.005
_SYSTEMD: Final = Path("/run/systemd/system")
_PROC: Final = Path("/proc")


class Place(msgspec.Struct, frozen=True):
    """Where groups can be made: `path`, or None and the reason. `moves`: the daemon lives there and must go to a leaf."""

    path: Path | None = None
    reason: str = ""
    moves: bool = False

    def controllers(self) -> set[str]:
        """Those that groups made here may have."""
        above = self.path if self.moves or self.path is None else self.path.parent
        return set(_read(above / "cgroup.controllers").split()) if above is not None else set()


def survey(name: str, proc: Path = _PROC) -> Place:
    """Where this process may make groups; `name` tells daemons apart where nobody gave one a group of its own."""
    mount, path = _mount(proc), _place_of("self", proc)
    if mount is None:
        return Place(reason="cgroup v2 is not mounted")
    if path is None:
        return Place(reason="this process's control group is not below the mounted ones")
    whole = path == mount[0]
    if not (path / "cgroup.type").exists():  # the root of all: it may have processes
        path /= f"faasd-py-{hashlib.sha256(name.encode()).hexdigest()[:10]}"
        return _writable(Place(path), path.parent)
    if path.name == LEAF:
        return _writable(Place(path.parent, moves=True), path.parent)
    return _writable(_delegated(path, whole=whole), path)


def _writable(place: Place, path: Path) -> Place:
    if place.path is not None and not os.access(path, os.W_OK):
        return Place(reason=f"{path} cannot be written to: the daemon's unit needs Delegate=yes")
    return place


def _delegated(path: Path, *, whole: bool) -> Place:
    """A group below the root is used when it was given to us, and nobody else is in it."""
    if whole:  # a container's: all in it is ours
        return Place(path, moves=True)
    if os.geteuid() == 0 and _SYSTEMD.is_dir() and not _marked(path):
        return Place(reason=f"{path} is systemd's: the daemon's unit needs Delegate=yes")
    others = {*_pids(path)} - {os.getpid()}
    if others:
        return Place(reason=f"{path} has other processes in it: the daemon must be a service of its own")
    return Place(path, moves=True)


def _marked(path: Path) -> bool:
    """Whether systemd has given the group away (its mark, since 236 for root to see, since 251 for all)."""
    for mark in ("trusted.delegate", "user.delegate"):
        with suppress(OSError):
            return os.getxattr(path, mark) == b"1"
    return False


def _mount(proc: Path = _PROC) -> tuple[Path, str] | None:
    """Where cgroup v2 is mounted, and which of its directories is there (proc(5), mountinfo)."""
    for line in _read(proc / "self" / "mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        if after.startswith("cgroup2 "):
            fields = before.split()
            return Path(fields[4]), fields[3]
    return None


def _place_of(pid: int | str, proc: Path = _PROC) -> Path | None:
    """The directory of a process's group; None when it is gone, or its group is not among the mounted ones."""
    lines = _read(proc / str(pid) / "cgroup").splitlines()
    own = next((line[3:] for line in lines if line.startswith("0::")), None)
    mount = _mount(proc)
    if own is None or mount is None:
        return None
    point, root = mount
    if not (own == root or own.startswith(root.rstrip("/") + "/")):
        return None
    return point / own.removeprefix(root).lstrip("/")


def _is_function(below: Path) -> bool:
    return below.parts[0].startswith(_PREFIX)


def _pids(path: Path) -> list[int]:
    return [int(word) for word in _read(path / "cgroup.procs").split()]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


class Subtree:
    """The groups of one daemon. `open` and `close` once, `group` for each function."""

    def __init__(self, path: Path, *, moves: bool, controllers: set[str]) -> None:
        self.path = path
        self._moves = moves
        self.controllers = controllers

    @classmethod
    def open(cls, place: Place) -> Subtree:
        """Make it ready: what a daemon before left behind is ended, this one moves to its leaf.

        A group that nobody gave us is made with the first function's, and not before.

        Raises:
            OSError: the kernel refuses.
        """
        if place.path is None:
            raise FileNotFoundError(place.reason)
        if place.moves:
            _move(place.path)
            controllers = _enable(place.path)
        else:
            controllers = place.controllers() & {*CONTROLLERS}
        subtree = cls(place.path, moves=place.moves, controllers=controllers)
        subtree.end_leftovers()
        return subtree

    def end_leftovers(self) -> None:
        """Kill what runs in groups that no daemon has any more, and remove them."""
        for directory in self._groups():
            log.warning("control group %s is left from before: what runs in it is killed", directory.name)
            group = Group(directory)
            group.kill()
            group.remove_now()

    def _groups(self) -> list[Path]:
        return list(self.path.glob(f"{_PREFIX}*/"))

    def group(self, name: str, limits: Mapping[str, str]) -> Group:
        """A new group with these limits (file name → value).

        Raises:
            OSError: it cannot be made, or a limit cannot be set.
        """
        if not self._moves and not self.path.is_dir():
            self.path.mkdir()
            _enable(self.path.parent)
            _enable(self.path)
        group = Group(self.path / f"{_PREFIX}{name}")
        group.path.mkdir()
        try:
            group.path.chmod(
                0o755
            )  # whatever our umask: runtimes of other users size themselves by their limits
            for file, value in limits.items():
                (group.path / file).write_text(value)
            with suppress(OSError):  # without swap, or without its accounting
                if "memory.max" in limits:
                    (group.path / "memory.swap.max").write_text("0")
        except OSError:
            group.remove_now()
            raise
        return group

    def holds(self, pid: int) -> bool:
        """Whether this process is in one of the functions' groups; one that is not there any more counts as such."""
        place = _place_of(pid)
        if place is None:
            return True
        return (
            place.is_relative_to(self.path)
            and place != self.path
            and _is_function(place.relative_to(self.path))
        )

    def close(self) -> None:
        """Remove what this daemon made above its groups, which are gone by now."""
        if not self._moves:
            for directory in self._groups():
                Group(directory).remove_now()
            with suppress(OSError):
                self.path.rmdir()


def _move(path: Path) -> None:
    """Every process that is there, this one, into a leaf."""
    leaf = path / LEAF
    leaf.mkdir(exist_ok=True)
    for pid in _pids(path):
        with suppress(ProcessLookupError):
            (leaf / "cgroup.procs").write_text(str(pid))


def _enable(path: Path) -> set[str]:
    """Hand on what there is of the controllers; those that groups below have."""
    for controller in CONTROLLERS:
        with suppress(OSError):
            (path / "cgroup.subtree_control").write_text(f"+{controller}")
    return set(_read(path / "cgroup.subtree_control").split())


class Group:
    """One function's group."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._counted = 0

    def kill(self) -> None:
        """KILL to every process in it, also to those that left their process group or session."""
        try:
            (self.path / "cgroup.kill").write_text("1")
        except OSError:  # before Linux 5.14
            for pid in _pids(self.path):
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    @property
    def populated(self) -> bool:
        """Whether any process is in it."""
        return "populated 1" in _read(self.path / "cgroup.events")

    async def remove(self) -> None:
        """End what is in it; returns when the group is gone, or does not get empty."""
        with trio.move_on_after(_EMPTY_WITHIN):
            while self.populated:
                self.kill()
                await trio.sleep(_POLL)
        if not self.remove_now():
            log.error("control group %s cannot be removed: a process in it does not end", self.path)

    def remove_now(self) -> bool:
        """Remove it if it is empty; whether it is gone."""
        with suppress(OSError):
            self.path.rmdir()
        return not self.path.exists()

    def killed_for_memory(self) -> bool:
        """Whether the kernel killed a process of it for lack of memory since this was asked last."""
        before, self._counted = self._counted, self._event("oom_kill")
        return self._counted > before

    def _event(self, name: str) -> int:
        for line in _read(self.path / "memory.events").splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
        return 0

    def usage(self) -> tuple[float, int] | None:
        """Seconds of CPU used so far, bytes of memory now; None when the kernel does not tell."""
        cpu, memory = _read(self.path / "cpu.stat").split(), _read(self.path / "memory.current")
        if "usage_usec" not in cpu or not memory:
            return None
        return int(cpu[cpu.index("usage_usec") + 1]) / 1e6, int(memory)


def cpu_max(cores: float) -> str:
    """`cpu.max`: microseconds of CPU in each period; the kernel takes no less than 1 ms of them."""
    period = min(1_000_000, max(_PERIOD, math.ceil(_LEAST_QUOTA / cores)))
    return f"{max(_LEAST_QUOTA, round(cores * period))} {period}"
