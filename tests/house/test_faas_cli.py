"""faas-cli over functions that are processes of this box."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.house.daemon import PYTHON, Daemon, running, service
from tests.house.faas_cli_suite import FaasCliSuite


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose images are run as processes."""
    root = tmp_path_factory.mktemp("faas-cli")
    images = {
        "functions/*": {"mode": "fork"},
        "ghcr.io/openfaas/*": service(root, environment={"RECORD": "/dev/stdout"}),
        "ghcr.io/openfaas/broken:*": {"mode": "http", "command": ["/bin/false"], "start_timeout": "1s"},
    }
    with running(root, {"fixed": {"command": ["/bin/cat"]}}, auth={"enabled": True}, images=images) as one:
        one.wait_healthy()
        yield one


class TestProcesses(FaasCliSuite):
    """Images are templates of config.toml's [images]."""

    HTTP = "ghcr.io/openfaas/echo:0.1.0"
    BROKEN = "ghcr.io/openfaas/broken:1"
    LOST = ("alpine:3", "nothing here runs 'alpine")
    SAY = " ".join([*PYTHON, "-c"])
    SECRETS = "__import__('os').environ['SECRETS_DIR']"
