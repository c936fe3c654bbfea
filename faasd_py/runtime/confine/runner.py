"""The spawn helper of one function, which confines itself before it starts anything. Standard library only.

Run as a program (`python -I -S -E runner.py FD`). The first message is its spec; from then on it is the helper that
`spawner.py` describes, and all that it starts inherits its bounds at no cost. Should it fail to confine itself it says
REFUSED with the reason and ends: a request is only read when every bound is in force.

Two things more than the plain helper: while a process is born it is made the kernel's first choice when memory runs
out, so that this one goes last; and when no group is left, what has left its group (setsid) is killed.
"""

from __future__ import annotations

import marshal
import os
import resource
import signal
import socket
import sys
import time
from contextlib import suppress

if __name__ == "__main__":  # by -I nothing of the package is found
    sys.path.append(os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..")))  # noqa: PTH100, PTH118, PTH120 - pathlib is slow to import

from faasd_py.runtime import spawner
from faasd_py.runtime.confine import files, identity, kernel, landlock, seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import
    from typing import TypedDict

    class Files(TypedDict):
        """Paths that may be read, and written too; not what of them is closed, nor written what is read only.

        The function's `own` are granted wherever they lie. `listing`: the names in directories are closed as well.
        """

        read: list[bytes]
        write: list[bytes]
        closed: list[bytes]
        read_only: list[bytes]
        own_read: list[bytes]
        own_write: list[bytes]
        listing: bool

    class Spec(TypedDict):
        """What the runner is to do to itself. Plain values: it travels marshalled."""

        group: bytes
        identity: identity.Identity | None
        address_space: int
        files: Files | None
        filter: bool
        network: bool


_FIRST_VICTIM = b"1000"
_PATIENCE = 2.0
"""Seconds in which all that has left its group must be gone, or the whole control group is killed."""
_CGROUP_PROCS, _CGROUP_KILL = b"/cgroup.procs", b"/cgroup.kill"


class Unconfined(Exception):
    """A bound cannot be put in force; the text says which and why."""


class Runner(spawner.Helper):
    """A helper that is confined, and keeps its function's processes together."""

    def __init__(self, wire: socket.socket) -> None:
        super().__init__(wire)
        spec = self._first_message()
        self._address_space = spec["address_space"]
        self._score = self._open(b"/proc/self/oom_score_adj", os.O_RDWR)
        self._usual_score = os.pread(self._score, 16, 0).strip() if self._score >= 0 else b"0"
        self._killer = self._open(spec["group"] + _CGROUP_KILL, os.O_WRONLY) if spec["group"] else -1
        self._strays_since = 0.0
        try:
            confine(spec)
        except Unconfined as error:
            wire.send(marshal.dumps([(spawner.REFUSED, 0, str(error))]))
            sys.exit(1)

    def _first_message(self) -> Spec:
        self.wire.setblocking(True)
        data = self.wire.recv(spawner.MAX_MESSAGE)
        if not data:
            sys.exit(0)
        spec: Spec = marshal.loads(data)  # noqa: S302 - both ends are this package, on a private socketpair
        return spec

    @staticmethod
    def _open(path: bytes, how: int) -> int:
        try:
            return os.open(path, how | os.O_CLOEXEC)
        except OSError:
            return -1

    def run(
        self,
        request: tuple[int, int, int, spawner.Definition | None, dict[bytes, bytes]],
        fds: list[int],
    ) -> None:
        """As the plain helper's; the process is born as the first victim of a lack of memory."""
        with suppress(OSError):
            os.pwrite(self._score, _FIRST_VICTIM, 0)
        try:
            super().run(request, fds)
        finally:
            with suppress(OSError):
                os.pwrite(self._score, self._usual_score, 0)
        if self._address_space and (pid := self.groups.get(request[1])):
            with suppress(OSError):
                resource.prlimit(pid, resource.RLIMIT_AS, (self._address_space,) * 2)

    def reap(self) -> None:
        """Also what has left its group, once no group is left."""
        super().reap()
        if self.groups or not has_children():
            self._strays_since = 0.0
            return
        now = time.monotonic()
        self._strays_since = self._strays_since or now
        if now - self._strays_since > _PATIENCE:
            self._end_control_group()
        for pid in spawner.children():
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def _end_control_group(self) -> None:
        """They multiply faster than they are found: all at once, this process too. The daemon starts another."""
        if self._killer >= 0:
            with suppress(OSError):
                os.write(self._killer, b"1")

    def end(self) -> None:
        """Everything that is left, this process last."""
        if self._killer >= 0:
            with suppress(OSError):
                os.write(self._killer, b"1")
        super().end()


def has_children() -> bool:
    """Whether any process has this one for its parent, as orphans of its children have."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def confine(spec: Spec) -> None:
    """Put every bound in force, in the order in which each still may.

    Raises:
        Unconfined: one of them is not in force.
    """
    grants = _grants(spec["files"]) if spec["files"] else None
    with _step("its control group"):
        if spec["group"]:
            _enter(spec["group"])
    with _step("its limit of core dumps"):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with _step("its user"):
        identity.become(spec["identity"])
    with _step("no_new_privs"):
        kernel.prctl(kernel.SET_DUMPABLE, 0)
        kernel.prctl(kernel.NO_NEW_PRIVS, 1)
    with _step("its files (landlock)"):
        if grants is not None:
            landlock.restrict(*grants)
    with _step("its system calls (seccomp)"):
        if spec["filter"]:
            seccomp.install(network=spec["network"])


def _enter(group: bytes) -> None:
    fd = os.open(group + _CGROUP_PROCS, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, b"0")
    finally:
        os.close(fd)


def _grants(bounds: Files) -> tuple[int, list[tuple[bytes, int]], int]:
    """What landlock is to handle, to grant, and to keep apart."""
    handled = landlock.READ | landlock.WRITE
    scopes = landlock.SCOPE_SIGNALS
    if bounds["listing"]:
        scopes |= landlock.SCOPE_ABSTRACT_SOCKETS
    else:
        handled &= ~landlock.READ_DIR
    grants = [(path, landlock.READ) for path in files.spread(bounds["read"], bounds["closed"])]
    walls = [*bounds["closed"], *bounds["read_only"]]
    grants += [(path, landlock.WRITE | landlock.READ) for path in files.spread(bounds["write"], walls)]
    grants += [(path, landlock.READ) for path in bounds["own_read"]]
    grants += [(path, landlock.WRITE | landlock.READ) for path in bounds["own_write"]]
    return handled, grants, scopes


class _step:  # noqa: N801 - reads as a word
    """A failure within is told by the bound's name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if isinstance(error, OSError):
            raise Unconfined(f"{self._name}: {error.strerror}") from error


if __name__ == "__main__":
    spawner.main(int(sys.argv[1]), Runner)
