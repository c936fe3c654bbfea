"""Mode `image` keeps the contract of every runtime: the daemon's own suite, against real containers."""

from __future__ import annotations

import tempfile
from contextlib import asynccontextmanager

import pytest

from faasd_py.testing.runtime_conformance import RuntimeConformance
from faasd_py_podman import container
from faasd_py_podman.image import open_image

from .store import SUBJECT_IMAGE


class TestImage(RuntimeConformance):
    """With the network that the containers do not have."""

    methods = (*RuntimeConformance.methods, b"OPTIONS", b"PROPFIND")

    @pytest.fixture(autouse=True)
    def place(self, box, monkeypatch):
        """The suite's functions write marks into this box's directory for temporary files; so it is mounted."""
        self.box = box
        folder = tempfile.gettempdir()
        mount = {"type": "bind", "source": folder, "destination": folder, "options": ["rbind"]}
        asked = container.spec
        monkeypatch.setattr(
            container, "spec", lambda *given: (body := asked(*given)) | {"mounts": [*body["mounts"], mount]}
        )

    @asynccontextmanager
    async def opened(self, name):
        async with (
            self.box.podman() as podman,
            open_image(self.box.site(podman, image=SUBJECT_IMAGE, kill_grace=0.0)) as runtime,
        ):
            yield runtime
