"""What all functions of a daemon share: podman's service, its client, the thread that enters networks, and an identity.

Containers outlive a daemon that is killed. They carry the daemon's id as a label, and the next start removes them before any
function is opened: no orphan runs a call that is run again.
"""

from __future__ import annotations

import logging
import os
import secrets
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from faasd_py.api import PluginError, tasks_beside
from faasd_py_podman import netns
from faasd_py_podman.host import Host, look
from faasd_py_podman.images import Images
from faasd_py_podman.options import PLACE, Options, read_options
from faasd_py_podman.rest import AWAY, PodmanError, Rest
from faasd_py_podman.service import Service
from faasd_py_podman.spec import OWNER

log: Final = logging.getLogger("faasd_py_podman")
_STARTS_WITHIN: Final = 60.0
_TRIES: Final = 20
_BETWEEN_TRIES: Final = 0.1
_AT_ONCE: Final = {"force": "true", "timeout": "0", "v": "true"}
"""Kill, do not ask; and remove its anonymous volumes."""


class Podman:
    """What `RuntimeSite.shared` is for the functions of mode `image`."""

    def __init__(
        self,
        options: Options,
        identity: str,
        rest: Rest,
        host: Host,
        sockets: netns.Sockets,
        nursery: trio.Nursery,
    ) -> None:
        self.options = options
        self.identity = identity
        self.rest = rest
        self.host = host
        self.images = Images(rest, options)
        self.sockets = sockets
        self.nursery = nursery
        self.may_enter = netns.may_enter()

    async def remove(self, container: str) -> None:
        """Kill it if it runs, and remove it; it may be gone already.

        podman refuses while it is just learning that a container has ended: then it is asked again.

        Raises:
            PodmanError: podman does not answer, or cannot.
        """
        for left in reversed(range(_TRIES)):
            try:
                await self.rest.call("DELETE", f"/containers/{container}", query=_AT_ONCE)
            except PodmanError as error:
                if error.status == 404:
                    return
                if error.status == AWAY or not left:
                    raise
                await trio.sleep(_BETWEEN_TRIES)
            else:
                return

    async def remove_leftovers(self) -> int:
        """Remove the containers of this daemon's earlier lives; how many there were. Raises as `remove`."""
        filters = msgspec.json.encode({"label": [f"{OWNER}={self.identity}"]}).decode()
        found = [each["Id"] for each in await self.rest.ask("/containers/json", all="true", filters=filters)]
        for container in found:
            await self.remove(container)
        return len(found)


@asynccontextmanager
async def open_podman(given: Mapping[str, Any], directory: Path) -> AsyncIterator[Podman]:
    """`open_shared` of mode `image`.

    Raises:
        ConfigError: `[runtimes.podman]` is wrong.
        PluginError: podman is missing, too old, or does not answer.
    """
    options = read_options(given)
    directory = directory.absolute()  # noqa: ASYNC240 - no disk is asked
    identity = _identity(directory / "id")
    rest = Rest(options.socket or str(directory / "podman.sock"))
    sockets = netns.open_sockets()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(rest)
        nursery = await stack.enter_async_context(tasks_beside())
        host = await _reached(options, rest, nursery)
        podman = Podman(options, identity, rest, host, stack.enter_context(sockets), nursery)
        try:
            if count := await podman.remove_leftovers():
                log.warning(
                    "%d containers were left behind by an earlier life of this daemon, and are removed", count
                )
        except PodmanError as error:
            raise PluginError(f"{PLACE}: containers of an earlier life cannot be removed: {error}") from error
        yield podman


async def _reached(options: Options, rest: Rest, nursery: trio.Nursery) -> Host:
    with trio.move_on_after(_STARTS_WITHIN):
        if options.socket is None:
            chosen = [] if options.oci_runtime is None else [f"--runtime={options.oci_runtime}"]
            await nursery.start(Service([*options.command, *chosen], rest).run)
        try:
            return await look(rest)
        except PodmanError as error:
            raise PluginError(f"{PLACE}: {error}") from error
    raise PluginError(f"{PLACE}: podman's service does not answer within {_STARTS_WITHIN:g}s")


def _identity(path: Path) -> str:
    """Who owns the containers: made once, and kept, on disk before anything is labelled with it."""
    try:
        if found := path.read_text("ascii").strip():
            return found
    except FileNotFoundError:
        pass
    made, new = secrets.token_hex(8), path.with_suffix(".new")
    with new.open("w", encoding="ascii") as file:
        file.write(made)
        file.flush()
        os.fsync(file.fileno())
    new.rename(path)
    return made
