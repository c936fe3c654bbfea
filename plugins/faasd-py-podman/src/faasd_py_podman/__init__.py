"""Functions of faasd-py that are container images, run by podman: mode `image`."""

from __future__ import annotations

from typing import Final

from faasd_py.api import RegisterRuntime, hookimpl
from faasd_py_podman.image import open_image
from faasd_py_podman.podman import open_podman

api_version: Final = 1


@hookimpl
def faasd_py_register_runtimes(register: RegisterRuntime) -> None:
    """One mode."""
    register("image", open_image, open_podman)
