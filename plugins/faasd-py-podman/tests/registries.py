"""A registry on this box's loopback, with or without a password."""

from __future__ import annotations

import base64
import json
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.house.daemon import free_port
from tests.house.patience import until

MISSING = "" if shutil.which("docker-registry") else "docker-registry is not installed"
USER, PASSWORD = "someone", "hush"
_HTPASSWD = "someone:$2b$04$Ri3cMfIUti.a0k.p3UKL2.7W3EAv3BmgUvul07ndczyOQXmH4Lety\n"


class Registry:
    """One that listens at `address`."""

    def __init__(self, directory: Path, *, closed: bool) -> None:
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.auth_file = directory / "auth.json"
        entry = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        self.auth_file.write_text(json.dumps({"auths": {self.address: {"auth": entry}} if closed else {}}))
        (directory / "htpasswd").write_text(_HTPASSWD)
        config = {
            "version": 0.1,
            "log": {"accesslog": {"disabled": True}, "level": "error"},
            "storage": {"filesystem": {"rootdirectory": str(directory / "data")}},
            "http": {"addr": self.address},
        }
        if closed:
            config["auth"] = {"htpasswd": {"realm": "here", "path": str(directory / "htpasswd")}}
        self.config = directory / "config.yml"
        self.config.write_text(json.dumps(config))  # JSON is YAML

    def answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def registry(directory: Path, *, closed: bool = False) -> Iterator[Registry]:
    """It runs meanwhile."""
    directory.mkdir()
    made = Registry(directory, closed=closed)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(made.config)], stdout=log, stderr=log, start_new_session=True
        )
    try:
        until(made.answers, within=30, what="the registry is up")
        yield made
    finally:
        process.kill()
        process.wait()
