"""faas-cli over functions that are containers: the gateway's own suite, with images from a registry and without one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.house.daemon import Daemon
from tests.house.faas_cli_suite import FaasCliSuite

from . import registries
from .registries import Registry
from .store import Store

pytestmark = pytest.mark.skipif(bool(registries.MISSING), reason=registries.MISSING)


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A short directory, for sockets lie in it."""
    path = Path(tempfile.mkdtemp(prefix="h-"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def registry(store: Store, root: Path) -> Iterator[Registry]:
    """A registry that has the image of an HTTP server, and of a program that ends at once; neither is on this box."""
    with registries.registry(root / "registry") as opened:
        for name, words in (("echo:0.1.0", ["/service.py"]), ("broken:1", ["-c", "raise SystemExit(3)"])):
            image = f"{opened.address}/openfaas/{name}"
            store.make(image, *words, RECORD="/dev/stdout")
            store.podman("push", "--tls-verify=false", "--format=v2s2", image)
            store.podman("rmi", image)
        yield opened


@pytest.fixture(scope="module")
def daemon(store: Store, root: Path, registry: Registry) -> Iterator[Daemon]:
    """A daemon with no templates, whose images are containers' images."""
    for name in ("alpine", "a"):
        store.make(f"docker.io/functions/{name}:latest", "/watchdog.py")
    fixed = {"image": "functions/alpine", "environment": {"fprocess": "cat"}}
    podman = store.options | {"insecure_registries": [registry.address]}
    made = Daemon(root, {"fixed": fixed}, auth={"enabled": True}, runtimes={"podman": podman})
    made.tables = {"plugins": ["podman"], **made.tables}
    made.write()
    try:
        made.start()
        made.wait_healthy(within=60)
        yield made
    finally:
        made.close()
        store.podman("rm", "--all", "--force", "--time=0")


class TestContainers(FaasCliSuite):
    """Its watchdog's images are here already, the others are pulled."""

    SAY = "/usr/bin/python3 -I -S -c"
    SECRETS = "'/var/openfaas/secrets'"
    LOST = ("127.0.0.1:9/no/such:1", "127.0.0.1:9/no/such:1 cannot be pulled")

    @pytest.fixture(autouse=True)
    def images(self, registry: Registry) -> None:
        self.HTTP = f"{registry.address}/openfaas/echo:0.1.0"
        self.BROKEN = f"{registry.address}/openfaas/broken:1"
