"""Listening sockets: bound as config.toml says, or inherited from systemd (sd_listen_fds(3)), which win.

The names of inherited sockets (`FileDescriptorName=` in the socket unit) tell the doors apart: `gateway`, `metrics`.
Every socket that leaves this file listens, does not block and is closed in child processes.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

from faasd_py.config.addresses import check_listen
from faasd_py.control.private_socket import reason, remove_own, remove_stale
from faasd_py.core.errors import BootError

BACKLOG: Final = 1024
FIRST_FD: Final = 3
DOORS: Final = ("gateway", "metrics")
Inherited = dict[str, list[socket.socket]]
Place = tuple[socket.AddressFamily, Any]
"""A family and what its bind() takes."""


@contextmanager
def open_listeners(
    listen: Sequence[str], inherited: Sequence[socket.socket] = ()
) -> Iterator[list[socket.socket]]:
    """The sockets of one door: those inherited if there are any, else one or more for each address.

    Leaving closes them, and removes the files of unix sockets that were bound here.

    Raises:
        BootError: an address is wrong or taken: one sentence that begins with it.
    """
    with ExitStack() as stack:
        if inherited:
            yield [stack.enter_context(door) for door in inherited]
            return
        yield [door for address in listen for door in stack.enter_context(_open(address))]


def inherit(environ: MutableMapping[str, str], pid: int | None = None, first: int = FIRST_FD) -> Inherited:
    """The sockets that systemd passed, by door; the variables are taken out, so that no child takes them for its own.

    A socket without a name of ours (`FileDescriptorName=` not set: it is called after its unit) belongs to the gateway.

    Raises:
        BootError: something was passed that is not a listening stream socket, or under a name that means nothing here.
    """
    told, count, names = (environ.pop(f"LISTEN_{key}", "") for key in ("PID", "FDS", "FDNAMES"))
    doors: Inherited = {door: [] for door in DOORS}
    if told != str(os.getpid() if pid is None else pid) or not count.isdecimal():
        return doors
    labels = names.split(":") if names else []
    for index in range(int(count)):
        label = labels[index] if index < len(labels) else "unknown"
        doors[_door(label)].append(_adopt(first + index, label))
    return doors


def name_of(door: socket.socket) -> str:
    """How a log line names a listening socket: as config.toml would."""
    where = door.getsockname()
    if door.family == socket.AF_UNIX:
        return f"unix:{os.fsdecode(where)}"
    return f"[{where[0]}]:{where[1]}" if door.family == socket.AF_INET6 else f"{where[0]}:{where[1]}"


@contextmanager
def _open(address: str) -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        try:
            check_listen(address)
            if address.startswith("unix:"):
                doors = [stack.enter_context(_open_unix(Path(address.removeprefix("unix:"))))]
            else:
                doors = [stack.enter_context(door) for door in _bind_all(_resolve(address))]
        except ValueError as error:
            raise BootError(f"listen: {error}") from None
        except OSError as error:
            raise BootError(f"{address}: {reason(error)}") from error
        yield doors


def _bind_all(places: Sequence[Place]) -> list[socket.socket]:
    """A socket for each; of several (`localhost` on a box without IPv6) those will do that this box has.

    Raises:
        OSError: one of them is taken or forbidden, or none is to be had.
    """
    doors: list[socket.socket] = []
    missing: OSError | None = None
    with ExitStack() as undo:
        for family, where in places:
            try:
                doors.append(undo.enter_context(_bind_tcp(family, where)))
            except OSError as error:
                if error.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                missing = error
        if missing is not None and not doors:
            raise missing
        undo.pop_all()
    return doors


def _bind_tcp(family: socket.AddressFamily, where: Any) -> socket.socket:
    door = _stream(family)
    try:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # Else [::] would take the IPv4 port too, and "0.0.0.0:8080" beside it would be refused.
            door.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        door.bind(where)
        door.listen(BACKLOG)
    except BaseException:
        door.close()
        raise
    return door


@contextmanager
def _open_unix(path: Path) -> Iterator[socket.socket]:
    remove_stale(path)
    with _stream(socket.AF_UNIX) as door:
        door.bind(os.fspath(path))
        made = path.stat()
        try:
            # Nobody can connect before listen(): so there is no moment with a wider mode.
            path.chmod(0o660)
            door.listen(BACKLOG)
            yield door
        finally:
            remove_own(path, made)


def _resolve(address: str) -> list[Place]:
    host, _, port = address.rpartition(":")
    flags = socket.AI_PASSIVE | socket.AI_NUMERICSERV
    found = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM, flags=flags)
    return list(dict.fromkeys((family, where) for family, _, _, _, where in found))


def _stream(family: socket.AddressFamily) -> socket.socket:
    return socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


def _door(label: str) -> str:
    if label in DOORS:
        return label
    if label == "unknown" or label.endswith(".socket"):
        return "gateway"
    raise BootError(
        f'a socket was passed as "{label}": FileDescriptorName= must be one of {", ".join(DOORS)}'
    )


def _adopt(fd: int, label: str) -> socket.socket:
    try:
        door = socket.socket(fileno=fd)
        listens = door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise BootError(f"the passed file descriptor {fd} ({label}): {reason(error)}") from error
    if not listens or door.type != socket.SOCK_STREAM:
        door.detach()
        raise BootError(f"the passed file descriptor {fd} ({label}) is not a listening stream socket")
    door.setblocking(False)
    door.set_inheritable(False)
    return door
