"""Mode `image`: a function that is a container image, as many containers of it as its fleet wants."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py.api import ConfigError, Instance, OpenInstance, Runtime, RuntimeSite, open_fleet, tasks_beside
from faasd_py_podman.container import Container
from faasd_py_podman.copies import Copies
from faasd_py_podman.host import rlimits
from faasd_py_podman.options import PLACE, Chosen
from faasd_py_podman.podman import Podman
from faasd_py_podman.rest import PodmanError
from faasd_py_podman.spec import Box

_NOT_HEEDED: Final = {
    "combine_output": False,
    "content_type": None,
    "cgi_headers": True,
    "unix_socket": False,
    "confine": None,
}
"""Settings of functions that are not HTTP servers of their own, or not behind a network of their own."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One function, and what was found out about it when it was opened."""

    site: RuntimeSite
    podman: Podman
    chosen: Chosen
    image: str
    """The image's id: all replicas have the same, whatever its name means later."""

    @property
    def label(self) -> str:
        """NAME.NAMESPACE."""
        return f"{self.site.name}.{self.site.namespace}"


@asynccontextmanager
async def open_image(site: RuntimeSite) -> AsyncIterator[Runtime]:
    """Mode `image`: the image is here when this has opened, and each replica is a container of it.

    Raises:
        ConfigError: the function cannot be run as it is set up, or its image is not to be had.
    """
    async with open_fleet(site, containers(await make_plan(site))) as fleet:
        yield fleet


async def make_plan(site: RuntimeSite) -> Plan:
    """Check the function and get its image.

    Raises:
        ConfigError: the function cannot be run as it is set up, or its image is not to be had.
    """
    podman: Podman = site.shared
    chosen = podman.options.of(site.name, f"{site.name}.{site.namespace}")
    for problem in problems(site, podman, chosen):
        raise ConfigError(problem)
    try:
        image = await podman.images.get(site.settings.image or "", chosen.pull)
        if chosen.network != "none" and not await podman.rest.exists(f"/networks/{chosen.network}"):
            raise ConfigError(
                f"{PLACE}.network: podman has no network {chosen.network!r}; podman network create {chosen.network}"
            )
    except PodmanError as error:
        raise ConfigError(f"{_place(site)}.image: {error}") from error
    return Plan(site=site, podman=podman, chosen=chosen, image=image)


def problems(site: RuntimeSite, podman: Podman, chosen: Chosen) -> Iterator[str]:
    """What keeps a function from being run as a container here, a sentence each."""
    settings, place = site.settings, _place(site)
    if settings.image is None:
        yield f'{place}: mode "image" needs an image'
    for key, default in _NOT_HEEDED.items():
        if getattr(settings, key) != default:
            yield f'{place}.{key}: mode "image" does not heed it; say it to the image by its environment'
    if chosen.network == "none" and not podman.may_enter:
        yield (
            f"{PLACE}.network: a container without a network is reached with CAP_SYS_ADMIN only; "
            f"run the daemon as root, or name a network"
        )
    if not settings.limits.best_effort:
        for key in podman.host.unenforced(site):
            yield (
                f"{place}.limits.{key}: podman has no control group for it on this host; "
                f"set best_effort = true to run without it"
            )
    for name in settings.secrets:
        if not (site.secrets / name).is_file():
            yield f"{place}.secrets: there is no secret {name!r} in {site.secrets}"


def containers(plan: Plan) -> OpenInstance:
    """The `OpenInstance` of a function of mode `image`."""

    def open_one(number: int) -> AbstractAsyncContextManager[Instance]:
        return open_container(plan, number)

    return open_one


@asynccontextmanager
async def open_container(plan: Plan, number: int) -> AsyncIterator[Container]:
    """Container `number` of a function.

    Raises:
        PodmanError: it cannot be created or started.
        FunctionUnavailable: it ended at once.
    """
    with _directory(plan.site.directory.absolute() / str(number)) as directory:
        copies = Copies(plan.site, directory) if plan.site.settings.secrets else None
        container = Container(plan.podman, plan.site, await _box(plan, directory, copies))
        async with tasks_beside() as beside:
            if copies is not None:
                beside.start_soon(copies.follow)
            try:
                await container.start()
                yield container
            finally:
                with trio.CancelScope(shield=True):
                    await container.stop()


@contextmanager
def _directory(path: Path) -> Iterator[Path]:
    """A private one; what lies in it is small, and in memory."""
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


async def _box(plan: Plan, directory: Path, copies: Copies | None) -> Box:
    site, podman = plan.site, plan.podman
    image = plan.image
    if not await podman.rest.exists(f"/images/{image}"):  # somebody has removed it
        image = await podman.images.get(site.settings.image or "", "missing")
    return Box(
        name=f"{plan.label}-{secrets.token_hex(4)}",
        owner=podman.identity,
        image=image,
        network=plan.chosen.network,
        capabilities=plan.chosen.capabilities,
        log=directory / "log",
        secrets=copies.path if copies is not None else None,
        tmp_size=int(podman.options.tmp_size),
        rlimits=rlimits(site.settings.limits.open_files),
        enforced=frozenset({"memory", "cpu", "pids"} - set(podman.host.unenforced(site))),
    )


def _place(site: RuntimeSite) -> str:
    return f"functions.{site.name}"
