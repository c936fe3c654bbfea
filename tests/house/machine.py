"""A small Debian with a real systemd, booted in a container of its own: no network but its loopback, its own /etc and /var.

The root is made once by mmdebstrap and kept in $XDG_CACHE_HOME/faasd-py-tests; each machine runs on a fresh copy.
"""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from tests.house.patience import until

T = TypeVar("T")
TOOLS = {
    "systemd-nspawn": "systemd-container",
    "mmdebstrap": "mmdebstrap",
    "nsenter": "util-linux",
    "tar": "tar",
}
PACKAGES = "systemd,systemd-sysv,dbus,python3,python3-venv,libnss-systemd"
CLONE_NEWNET = 0x40000000
PYTHONS = {"bookworm": "3.11", "trixie": "3.13"}
"""Debian's releases that there are machines of (12 and 13), and the Python of each."""
PROJECT = Path(__file__).parents[2]


def why_not() -> str:
    """Why no machine can be had here; empty when one can."""
    if os.geteuid() != 0:
        return "booting systemd in a container needs root"
    absent = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    return f"not installed: apt-get install {' '.join(absent)}" if absent else ""


def run(*words: str | Path, timeout: float = 300.0) -> str:
    """A command's output; what it complained is in the error."""
    done = subprocess.run(
        words, capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, words))}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


class Operated:
    """What an operator does on a machine with systemd; a subclass says how a command is run there."""

    def execute(self, words: tuple[str, ...], timeout: float) -> tuple[int, str]:
        """A command's exit status and all that it wrote."""
        raise NotImplementedError

    def run(self, *words: str, timeout: float = 60.0) -> str:
        """A command inside; it must succeed."""
        status, said = self.execute(words, timeout)
        assert status == 0, f"{' '.join(words)}: {status}\n{said}"
        return said

    def fails(self, *words: str, timeout: float = 60.0) -> str:
        """A command inside that must not succeed; what it said."""
        status, said = self.execute(words, timeout)
        assert status != 0, said
        return said

    def systemctl(self, *words: str) -> str:
        return self.run("systemctl", *words)

    def show(self, unit: str, key: str) -> str:
        """One property of a unit, as systemd sees it now."""
        return self.systemctl("show", "--value", "--property", key, unit).strip()

    def journal(self, unit: str) -> str:
        return self.run("journalctl", "--no-pager", "--output", "cat", "--unit", unit)


class Machine(Operated):
    """One booted machine; `root` is its file system as seen from here, `leader` the pid of its init."""

    def __init__(self, root: Path, leader: int) -> None:
        self.root = root
        self.leader = leader

    def execute(self, words: tuple[str, ...], timeout: float) -> tuple[int, str]:
        inside = ["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"]
        done = subprocess.run(
            [*inside, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )
        return done.returncode, done.stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file inside, with the directories above it."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def within(self, work: Callable[[], T]) -> T:
        """Do this work in a thread that lives in the machine's network, and only there."""
        results: list[T] = []
        errors: list[BaseException] = []

        def there() -> None:
            try:
                _enter_network(self.leader)
                results.append(work())
            except BaseException as error:  # noqa: BLE001  # raised again by the caller's thread
                errors.append(error)

        thread = threading.Thread(target=there)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]

    def host_pid(self, pid: int) -> int:
        """The pid here of a process that has this pid inside."""
        namespace = _pid_namespace(self.leader)
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if _pid_namespace(path.name) == namespace and pid in _pids_of(path):
                    return int(path.name)
        raise AssertionError(f"no process {pid} inside")


def _pid_namespace(pid: int | str) -> Path:
    return Path(f"/proc/{pid}/ns/pid").readlink()


def _pids_of(path: Path) -> list[int]:
    [line] = [line for line in (path / "status").read_text().splitlines() if line.startswith("NSpid:")]
    return [int(word) for word in line.split()[2:]]


def _enter_network(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")


def cache() -> Path:
    """Where what is slow to make is kept between runs."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(home) / "faasd-py-tests"
    path.mkdir(parents=True, exist_ok=True)
    return path


@contextmanager
def _alone() -> Iterator[None]:
    """Nobody else is at the cache meanwhile: tests run beside each other."""
    with (cache() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def debian(release: str, packages: str) -> Path:
    """The tar of a minimal Debian with these packages."""
    tar = cache() / f"{release}-{hashlib.sha256(packages.encode()).hexdigest()[:8]}.tar"
    if not tar.exists():
        part = tar.with_name(f"part-{os.getpid()}.tar")
        run("mmdebstrap", "--variant=minbase", f"--include={packages}", release, part, timeout=600)
        part.rename(tar)
    return tar


def wheels(release: str, *projects: Path) -> Path:
    """A directory with the wheels of this tree, of these plug-ins, and of all they depend on, for the Python of a release."""
    directory = cache() / f"wheels-{release}"
    directory.mkdir(exist_ok=True)
    for old in directory.glob("faasd_py*.whl"):
        old.unlink()
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", directory, PROJECT, *projects)
    only = ("--only-binary=:all:", f"--python-version={PYTHONS[release]}", "--implementation=cp")
    places = ("--find-links", directory, "--dest", directory)
    run(*pip, "download", *only, *places, *directory.glob("faasd_py*.whl"))
    return directory


@contextmanager
def machine(root: Path) -> Iterator[Machine]:
    """Unpack, boot; power off and remove everything at the end."""
    unpack(root, "bookworm", PACKAGES)
    name = f"faasd-py-test-{os.getpid()}"
    groups = _control_groups(name)
    nspawn = _boot(root, name, groups)
    try:
        leader = until(lambda: _child(nspawn), what="nspawn starts its init")
        booted = Machine(root, leader)
        until(lambda: _is_up(booted), within=60, every=0.1, what="systemd is up")
        yield booted
    finally:
        _end(nspawn, groups)
        shutil.rmtree(root, ignore_errors=True)


def unpack(root: Path, release: str, packages: str, *projects: Path) -> None:
    """A Debian with these packages, and with faasd-py installed from its wheel as its unit says, and these plug-ins."""
    root.mkdir(parents=True)
    with _alone():
        tar = debian(release, packages)
        shutil.copytree(wheels(release, *projects), root / "wheels")
    run("tar", "--extract", "--file", tar, "--directory", root, "--exclude=./dev/*")
    _install(root, "faasd-py", *(project.name for project in projects))


def _install(root: Path, *names: str) -> None:
    """What the comment at the head of faasd-py.service tells an operator to do."""
    inside = ("chroot", root)
    run(*inside, "python3", "-m", "venv", "/opt/faasd-py")
    run(
        *inside,
        "/opt/faasd-py/bin/pip",
        "--quiet",
        "install",
        "--no-index",
        "--find-links=/wheels",
        *names,
    )
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n")
    [share] = (root / "opt/faasd-py/lib").glob("python3*/site-packages/faasd_py/share")
    (root / "etc/faasd-py").mkdir()
    shutil.copy(share / "config.toml", root / "etc/faasd-py/config.toml")
    for unit in ("faasd-py.service", "faasd-py.socket"):
        shutil.copy(share / "systemd" / unit, root / "etc/systemd/system")


def _control_groups(name: str) -> list[Path]:
    """Groups of its own for the machine, one in each hierarchy that systemd wants."""
    bases = [Path("/sys/fs/cgroup") / below for below in ("unified", "systemd", "")]
    groups = [base / name for base in bases if (base / "cgroup.procs").exists()]
    for group in groups:
        group.mkdir(exist_ok=True)
    return groups


def _boot(root: Path, name: str, groups: list[Path]) -> subprocess.Popen[bytes]:
    enter = "".join(f"echo $$ > {group}/cgroup.procs; " for group in groups)
    nspawn = (
        f"exec systemd-nspawn --quiet --directory={root} --machine={name} --register=no --keep-unit"
        " --private-network --console=read-only --boot"
    )
    return subprocess.Popen(
        ["sh", "-c", enter + nspawn],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
    )


def _child(process: subprocess.Popen[bytes]) -> int:
    assert process.poll() is None, f"systemd-nspawn ended with {process.returncode}"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for child in children:
        with suppress(OSError):
            if _pid_namespace(child) != _pid_namespace("self"):
                return int(child)
    return 0


def _is_up(booted: Machine) -> bool:
    _, said = booted.execute(("systemctl", "is-system-running"), 30.0)
    return said.strip() in {"running", "degraded"}


def _end(nspawn: subprocess.Popen[bytes], groups: list[Path]) -> None:
    nspawn.send_signal(signal.SIGTERM)  # nspawn asks its init to power off
    try:
        nspawn.wait(20)
    except subprocess.TimeoutExpired:
        nspawn.kill()
        nspawn.wait(20)
    for group in groups:
        for below in sorted(group.rglob("*/"), key=lambda path: len(path.parts), reverse=True):
            with suppress(OSError):
                below.rmdir()
        with suppress(OSError):
            group.rmdir()
