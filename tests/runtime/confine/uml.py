"""A Linux kernel of its own, as a process: this machine's files, read-only, and control groups that are all its own.

User-mode Linux (Debian: user-mode-linux) boots in about two seconds and needs no rights. It has cgroup v2 with all
controllers, and neither landlock nor seccomp filters.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

KERNEL = "linux.uml"
INIT = """#!/bin/sh
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /mnt
export PLACE=/mnt TMPDIR=/mnt PYTHONDONTWRITEBYTECODE=1
mkdir /run/out
mount -t hostfs -o {out} none /run/out
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up 2> /dev/null
cd {directory}
{{
{command}
}} > /run/out/stdout 2>&1 < /dev/null
echo $? > /run/out/status
sync
echo o > /proc/sysrq-trigger
sleep 60
"""


def why_not() -> str:
    """Why there can be no such kernel here; empty when there can."""
    return "" if shutil.which(KERNEL) else "not installed: apt-get install user-mode-linux"


def run(command: str, directory: Path, out: Path, timeout: float = 240.0) -> str:
    """Run a shell command as root under that kernel; what it wrote. It finds the directory `out` at /run/out.

    It must end with status 0.
    """
    out.mkdir(parents=True)
    init = out / "init"
    init.write_text(INIT.format(out=out, command=command, directory=directory))
    init.chmod(0o755)
    with (out / "console").open("wb") as console:
        subprocess.run(
            [KERNEL, "mem=512M", "rootfstype=hostfs", "rootflags=/", "ro", f"init={init}", "quiet", "con=null",
             "con0=fd:0,fd:1", f"uml_dir={out}/"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=console, timeout=timeout, check=False,
        )  # fmt: skip
    said = (out / "stdout").read_text() if (out / "stdout").exists() else ""
    status = (out / "status").read_text().strip() if (out / "status").exists() else "none"
    assert status == "0", f"status {status}\n{said}\n{(out / 'console').read_text(errors='replace')[-3000:]}"
    return said
