"""A whole computer: QEMU, Debian's own kernel and systemd, nothing of the kernel that the tests run on.

Control groups are of version 2 and all its own, landlock and seccomp are there: what a host of today has, and a container on
an older one cannot be given. The processor is emulated, so nothing is asked of the machine (no /dev/kvm), and all is some ten
times slower: it boots in a quarter of a minute.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.house import machine
from tests.house.machine import Operated
from tests.house.patience import until
from tests.house.wire import Answer

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "tar": "tar",
}
PACKAGES = f"{machine.PACKAGES},linux-image-cloud-amd64,udev,kmod,podman,crun"
AGENT = Path(__file__).with_name("agent.py")
UNIT = """
[Unit]
Description=Does what the tests ask
After=multi-user.target
[Service]
ExecStart=/usr/bin/python3 -I -S /agent.py /dev/ttyS1
Restart=always
[Install]
WantedBy=multi-user.target
"""


def why_not() -> str:
    """Why there can be no such computer here; empty when there can."""
    if os.geteuid() != 0:
        return "making the disk of a computer needs root"
    if platform.machine() != "x86_64":
        return "the emulated computer has an x86_64 processor, and so must its programs' host"
    absent = [package for tool, package in TOOLS.items() if not shutil.which(tool)]
    return f"not installed: apt-get install {' '.join(absent)}" if absent else ""


class Computer(Operated):
    """One that runs. What is asked of it goes over its second serial line, one thing at a time."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket, console: Path) -> None:
        self._process = process
        self._line = line
        self._answers = line.makefile("rb")
        self._turn = threading.Lock()
        self.console = console

    def execute(self, words: tuple[str, ...], timeout: float) -> tuple[int, str]:
        """A command's exit status and output."""
        told = self._ask({"run": words, "timeout": timeout})
        return told["status"], told["said"]

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file, with the directories above it."""
        self._ask({"write": path, "text": text, "mode": mode})

    def ask(
        self, port: int, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Answer:
        """One HTTP request to its loopback."""
        told = self._ask(
            {
                "ask": port, "method": method, "target": target, "headers": headers or {},
                "body": base64.b64encode(body).decode(),
            }
        )  # fmt: skip
        pairs = [(name, value) for name, value in told["headers"]]
        return Answer(told["status"], pairs, base64.b64decode(told["body"]))

    def _ask(self, what: dict[str, Any], patience: float = 300.0) -> dict[str, Any]:
        with self._turn:
            self._line.settimeout(patience)
            self._line.sendall(json.dumps(what).encode() + b"\n")
            line = self._answers.readline()
        assert line, self.console.read_text(errors="replace")[-3000:]
        told: dict[str, Any] = json.loads(line)
        assert "error" not in told, told["error"]
        return told

    def wait_up(self, within: float = 240.0) -> None:
        """Return when its agent, which comes last, has said so. An error when the computer has ended."""
        self._line.settimeout(within)
        assert self._answers.readline(), self.console.read_text(errors="replace")[-3000:]


@contextmanager
def computer(
    directory: Path, release: str, *projects: Path, files: Mapping[str, Path] = MappingProxyType({})
) -> Iterator[Computer]:
    """Make its disk with this release of Debian, and switch it on; all is removed at the end.

    On it are faasd-py, installed as its unit says, with these plug-ins, and files: path there → file here.
    """
    root = directory / "root"
    machine.unpack(root, release, PACKAGES, *projects)
    for path, file in files.items():
        shutil.copy(file, root / path.lstrip("/"))
    _prepare(root)
    disk = directory / "disk"
    with disk.open("wb") as file:
        file.truncate(4 << 30)
    machine.run("mke2fs", "-q", "-t", "ext4", "-d", root, disk)
    [kernel], [initrd] = root.glob("boot/vmlinuz-*"), root.glob("boot/initrd.img-*")
    process = _switch_on(directory, kernel, initrd, disk)
    try:
        line = socket.socket(socket.AF_UNIX)
        until((directory / "line").exists, what="qemu listens")
        line.connect(str(directory / "line"))
        with line:
            booted = Computer(process, line, directory / "console")
            booted.wait_up()
            yield booted
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def _prepare(root: Path) -> None:
    shutil.copy(AGENT, root / "agent.py")
    unit = root / "etc/systemd/system/agent.service"
    unit.write_text(UNIT)
    (root / "etc/systemd/system/multi-user.target.wants").mkdir(exist_ok=True)
    (root / "etc/systemd/system/multi-user.target.wants/agent.service").symlink_to(unit.name)
    machine.run("systemctl", f"--root={root}", "mask", "serial-getty@ttyS0.service", "getty@tty1.service")


def _switch_on(directory: Path, kernel: Path, initrd: Path, disk: Path) -> subprocess.Popen[bytes]:
    """One processor: Linux changes its own code while it runs (static keys), which QEMU's two threads of it do not survive."""
    command = [
        "qemu-system-x86_64", "-machine", "q35", "-accel", "tcg", "-cpu", "max", "-m", "1024",
        "-nodefaults", "-no-reboot", "-display", "none", "-kernel", kernel, "-initrd", initrd,
        "-append", "root=/dev/vda rw console=ttyS0 quiet panic=-1 systemd.show_status=no",
        "-drive", f"file={disk},format=raw,if=virtio,cache=unsafe",
        "-serial", f"file:{directory}/console",
        "-chardev", f"socket,id=line,path={directory}/line,server=on,wait=off", "-serial", "chardev:line",
    ]  # fmt: skip
    return subprocess.Popen(command, stdin=subprocess.DEVNULL)
