"""The spawn helper: a small process that starts and reaps the functions' processes, so that the daemon never forks.

Run as a program (`python -I -S -E spawner.py FD`), with the standard library only. Requests come and reports go as
marshalled tuples over a SOCK_SEQPACKET socket; the three standard streams of a new process come along as
SCM_RIGHTS, so no body ever passes through here. `confine/runner.py` is the same for one function, confined.

    RUN ident program definition environment  + 3 fds   start a process group; definition is None when it was told before
    STOP ident grace                                    TERM to the group, KILL after `grace` seconds
    KILL ident                                          KILL to the group now
    PAUSE ident     RESUME ident                        SIGSTOP and SIGCONT to the group
    FORGET program                                      its definition is no longer needed

    RUNNING ident pid     FAILED ident errno where     EXITED ident pid wait-status lingers     GONE ident
    READY 0, once        REFUSED 0 reason, before the end: it could not confine itself

RUNNING is told of a process that has not ended within 3 ms: most functions are quicker, and each report wakes the
daemon. A group lingers when its first process has ended and others of it have not. When the socket closes, because the daemon
stopped or was killed, every process that was started here is killed, and so are their children: this process is the
reaper of its descendants (prctl(2), PR_SET_CHILD_SUBREAPER).
"""

from __future__ import annotations

import array
import collections
import errno
import heapq
import marshal
import os
import resource
import select
import signal
import socket
import sys
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is slow to import
    from collections.abc import Callable

RUN, STOP, KILL, FORGET, PAUSE, RESUME = range(6)
RUNNING, FAILED, EXITED, GONE, READY, REFUSED = range(6)
MAX_MESSAGE = 256 << 10
_FDS = socket.CMSG_SPACE(3 * array.array("i").itemsize)
_SET_CHILD_SUBREAPER = 36
_SOFT_OPEN_FILES = 1024
_LAST_WAIT = 5.0
_NEWS_AFTER = 0.003
_IGNORED = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGPIPE, signal.SIGXFSZ)

Definition = tuple[bytes, list[bytes], dict[bytes, bytes], bytes, int]
"""Path of the program, argv, environment, working directory, open files (0: as it is)."""


class Helper:
    """All process groups, by the number that the daemon gave them."""

    def __init__(self, wire: socket.socket) -> None:
        self.wire = wire
        self.buffer = bytearray(MAX_MESSAGE)
        self.programs: dict[int, Definition] = {}
        self.groups: dict[int, int] = {}
        self.leaders: dict[int, int] = {}
        self.killed: set[int] = set()
        self.lingering: set[int] = set()
        self.deadlines: list[tuple[float, int]] = []
        self.reports: list[tuple[int, ...]] = []
        self.young: collections.deque[tuple[float, int, int]] = collections.deque()

    def receive(self) -> bool:
        """Carry out one request; False when the daemon is gone."""
        try:
            size, ancillary, _, _ = self.wire.recvmsg_into(
                [self.buffer], _FDS, socket.MSG_DONTWAIT | socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not size:
            return False
        request = marshal.loads(self.buffer)  # noqa: S302 - both ends are this package, on a private socketpair
        if request[0] == RUN:
            self.run(request, [fd for _, _, data in ancillary for fd in array.array("i", data)])
        else:
            self.obey(request)
        return True

    def run(
        self, request: tuple[int, int, int, Definition | None, dict[bytes, bytes]], fds: list[int]
    ) -> None:
        """Start a process group, and report its pid or why not."""
        _, ident, program, definition, environment = request
        if definition is not None:
            self.programs[program] = definition
        try:
            pid = spawn(self.programs.get(program), environment, fds)
        except SpawnError as error:
            self.reports.append((FAILED, ident, error.number, error.where))
        else:
            self.groups[ident] = pid
            self.leaders[pid] = ident
            self.young.append((time.monotonic() + _NEWS_AFTER, ident, pid))
        finally:
            for fd in fds:
                os.close(fd)

    def obey(self, request: tuple[int, ...]) -> None:
        """All but RUN."""
        if request[0] == FORGET:
            self.programs.pop(request[1], None)
        elif request[1] not in self.groups:
            return
        elif request[0] == KILL:
            self.kill(request[1])
        elif request[0] in {PAUSE, RESUME}:
            number = signal.SIGSTOP if request[0] == PAUSE else signal.SIGCONT
            signal_group(self.groups[request[1]], number)
        else:
            signal_group(self.groups[request[1]], signal.SIGTERM)
            signal_group(self.groups[request[1]], signal.SIGCONT)
            heapq.heappush(self.deadlines, (time.monotonic() + request[2], request[1]))

    def kill(self, ident: int) -> None:
        """KILL to a group; nothing survives that, so a group without its first process counts as gone."""
        signal_group(self.groups[ident], signal.SIGKILL)
        self.killed.add(ident)
        if ident in self.lingering:
            self.gone(ident)

    def gone(self, ident: int) -> None:
        """Nothing of the group is left."""
        del self.groups[ident]
        self.lingering.discard(ident)
        self.killed.discard(ident)
        self.reports.append((GONE, ident))

    def reap(self) -> None:
        """Collect every process that ended: first processes of groups, and orphans that fell to us."""
        orphans = False
        while pid := wait_any():
            ident = self.leaders.pop(pid[0], None)
            if ident is None:
                orphans = True
            else:
                self.exited(ident, *pid)
        if orphans:
            for ident in [i for i in self.lingering if not signal_group(self.groups[i], 0)]:
                self.gone(ident)

    def exited(self, ident: int, pid: int, status: int) -> None:
        """The first process of a group ended; does anything of the group remain?"""
        lingers = ident not in self.killed and signal_group(pid, 0)
        if lingers:
            self.lingering.add(ident)
        else:
            del self.groups[ident]
            self.killed.discard(ident)
        self.reports.append((EXITED, ident, pid, status, lingers))

    def due(self) -> float | None:
        """Report what has run for a while, KILL the groups whose grace is over; seconds until the next of both."""
        young, deadlines = self.young, self.deadlines
        while young and self.leaders.get(young[0][2]) != young[0][1]:
            young.popleft()
        if not young and not deadlines:
            return None
        now = time.monotonic()
        while young and young[0][0] <= now:
            _, ident, pid = young.popleft()
            if self.leaders.get(pid) == ident:
                self.reports.append((RUNNING, ident, pid))
        while deadlines and deadlines[0][0] <= now:
            _, ident = heapq.heappop(deadlines)
            if ident in self.groups:
                self.kill(ident)
        times = [queue[0][0] for queue in (young, deadlines) if queue]
        return max(0.0, min(times) - now) if times else None

    def flush(self) -> None:
        """Send what is to be reported, many at once."""
        while self.reports:
            self.wire.send(marshal.dumps(self.reports[:500]))
            del self.reports[:500]

    def end(self) -> None:
        """The daemon is gone: so is everything that was started here."""
        end_all(list(self.groups.values()))

    def serve(self, wake: int) -> None:
        """Until the daemon is gone. SIGCHLD makes `wake` readable."""
        epoll = select.epoll()
        epoll.register(self.wire, select.EPOLLIN)
        epoll.register(wake, select.EPOLLIN)
        self.reports.append((READY, 0))
        going, poll, wire = True, epoll.poll, self.wire.fileno()
        while going:
            wait = self.due()
            self.flush()
            ready = [fd for fd, _ in poll(wait)]
            if wake in ready:
                os.read(wake, 4096)
                self.reap()
                # Somebody waits for this, and the next birth takes a while.
                self.flush()
            if wire in ready:
                going = self.receive()


class SpawnError(Exception):
    """The error number, and where: 0 the program, 1 the working directory."""

    def __init__(self, number: int, where: int) -> None:
        super().__init__(number, where)
        self.number = number
        self.where = where


def spawn(definition: Definition | None, environment: dict[bytes, bytes], fds: list[int]) -> int:
    """Start it as the first process of a new group, with default signals, and only the three streams open."""
    if definition is None or len(fds) != 3:
        raise SpawnError(errno.EMFILE if definition else errno.EAGAIN, 0)
    path, argv, own, directory, open_files = definition
    try:
        os.chdir(directory)
    except OSError as error:
        raise SpawnError(error.errno or 0, 1) from None
    try:
        if not open_files:
            return bear(path, argv, {**own, **environment}, fds)
        with OpenFiles(open_files) as limit:
            pid = bear(path, argv, {**own, **environment}, fds)
            limit.seal(pid)
            return pid
    except OSError as error:
        raise SpawnError(error.errno or 0, 0) from None


def bear(path: bytes, argv: list[bytes], environment: dict[bytes, bytes], fds: list[int]) -> int:
    """posix_spawn(3) as all processes here are started; the pid."""
    dup = os.POSIX_SPAWN_DUP2
    return os.posix_spawn(
        path, argv, environment,
        file_actions=((dup, fds[0], 0), (dup, fds[1], 1), (dup, fds[2], 2)),
        setpgroup=0, setsigmask=(), setsigdef=_IGNORED,
    )  # fmt: skip


class OpenFiles:
    """RLIMIT_NOFILE of the process to be: the soft limit is set while it is born, the hard one right after.

    Lowering our own hard limit could not be undone.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.before = (0, 0)

    def __enter__(self) -> OpenFiles:  # noqa: PYI034 - typing is slow to import
        self.before = resource.getrlimit(resource.RLIMIT_NOFILE)
        hard = self.before[1]
        self.count = self.count if hard == resource.RLIM_INFINITY else min(self.count, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self.count, hard))
        return self

    def seal(self, pid: int) -> None:
        """The process cannot raise it again."""
        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (self.count, self.count))

    def __exit__(self, *_: object) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, self.before)


def wait_any() -> tuple[int, int] | None:
    """Pid and wait status of a process that ended, else None."""
    with suppress(ChildProcessError):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            return pid, status
    return None


def signal_group(group: int, number: int) -> bool:
    """Whether there was anyone to signal."""
    try:
        os.killpg(group, number)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def become_reaper() -> None:
    """Orphans of our descendants become our children, instead of init's."""
    with suppress(ImportError, OSError, AttributeError):
        import ctypes  # noqa: PLC0415 - some small builds of Python lack it; only this needs it

        ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> list[int]:
    """Our own children's pids; none where the kernel does not tell."""
    path = f"/proc/self/task/{os.getpid()}/children"
    with suppress(OSError), open(path, encoding="ascii") as file:  # noqa: PTH123 - pathlib is slow to import
        return [int(word) for word in file.read().split()]
    return []


def end_all(groups: list[int]) -> None:
    """Kill every group and every descendant; children of the killed fall to us, so it ends when none is left."""
    for group in groups:
        signal_group(group, signal.SIGKILL)
    until = time.monotonic() + _LAST_WAIT
    while (left := children()) and time.monotonic() < until:
        for pid in left:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        while wait_any():
            pass
        time.sleep(0.002)


def main(fd: int, helper: Callable[[socket.socket], Helper] = Helper) -> None:
    """Serve the daemon at the other end of `fd`; signals meant for the daemon's group do not end us."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # What the daemon itself was started with may have come along.
    os.closerange(fd + 1, os.sysconf("SC_OPEN_MAX"))
    wire = socket.socket(fileno=fd)
    wire.set_inheritable(False)
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # Programs expect the usual soft limit; a daemon of many connections has raised its own.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, _SOFT_OPEN_FILES), hard))
    become_reaper()
    served = helper(wire)
    try:
        served.serve(reading)
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        served.end()


if __name__ == "__main__":
    main(int(sys.argv[1]))
