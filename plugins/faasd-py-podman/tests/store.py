"""A podman of the tests' own: its images and containers lie in a directory, its service listens there."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.house.patience import until

from .images import write_python_root

IMAGE = "localhost/function:1"
SUBJECT_IMAGE = "localhost/subject:1"
MISSING = "" if shutil.which("podman") else "podman is not installed"


class Store:
    """One root of podman's."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.socket = directory / "podman.sock"
        self.root = directory / "root.tar"
        places = (("root", "root"), ("runroot", "run"), ("network-config-dir", "networks"))
        self.command = ["podman", *(f"--{option}={directory / name}" for option, name in places)]

    @property
    def options(self) -> dict[str, Any]:
        """`[runtimes.podman]` with a service of the plug-in's own."""
        given: dict[str, Any] = {"command": self.command}
        return given | ({"oci_runtime": runtime} if (runtime := oci_runtime()) else {})

    @property
    def served(self) -> dict[str, Any]:
        """`[runtimes.podman]` with the service that all tests share."""
        return {"socket": str(self.socket)}

    def podman(self, *words: str, check: bool = True) -> str:
        """What `podman WORDS` prints."""
        done = subprocess.run(
            [*self.command, *words], capture_output=True, text=True, check=False, timeout=120
        )
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def load(self) -> None:
        """The test images: one root, two commands."""
        write_python_root(self.root)
        self.make(IMAGE, "/function.py")
        self.make(SUBJECT_IMAGE, "/subject.py", "serve")

    def make(self, name: str, *words: str, **environment: str) -> None:
        """One more image of that root: its Python with these words."""
        command = json.dumps(["/usr/bin/python3", "-I", "-S", *words])
        changes = [f"CMD {command}", *(f"ENV {key}={value}" for key, value in environment.items())]
        self.podman("import", *(f"--change={change}" for change in changes), str(self.root), name)

    def containers(self) -> list[str]:
        """The names of all that exist, running or not."""
        return self.podman("ps", "--all", "--format", "{{.Names}}").split()


def oci_runtime() -> str:
    """`runc` where crun cannot work: control groups of both versions at once. Empty: podman's own choice is right."""
    hybrid = Path("/sys/fs/cgroup/unified").is_dir()
    return "runc" if hybrid and shutil.which("runc") else ""


@contextmanager
def opened(directory: Path) -> Iterator[Store]:
    """A store with the test images, and its service running."""
    store = Store(directory)
    store.load()
    runtime = [f"--runtime={oci_runtime()}"] if oci_runtime() else []
    command = [*store.command, *runtime, "system", "service", "--time=0", f"unix://{store.socket}"]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=directory, start_new_session=True)
    try:
        until(store.socket.exists, within=30, what="podman's service is up")
        yield store
    finally:
        store.podman("rm", "--all", "--force", "--time=0", check=False)
        process.terminate()
        process.wait()
        subprocess.run(
            ["umount", "--lazy", str(directory / "root" / "overlay")], check=False, capture_output=True
        )
        shutil.rmtree(directory, ignore_errors=True)
