"""The hub as a service: `[services.nng-hub]` offers this daemon's queue to spokes."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Final

import trio

from faasd_py.api import ConfigError, RegisterService, ServiceSite, hookimpl
from faasd_py_nng.hub import Hub
from faasd_py_nng.nng import CannotListen, Listener, open_listener
from faasd_py_nng.settings import HUB, hub_certificates, read_hub_options, read_key

api_version: Final = 1
log: Final = logging.getLogger("faasd_py.nng.hub")


async def run(site: ServiceSite, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Serve spokes until cancelled.

    Raises:
        ConfigError: `[services.nng-hub]` is wrong, or an address cannot be had.
    """
    options = read_hub_options(site.options)
    hub = Hub(site, options, read_key(options.key_file, HUB))
    async with open_listener(hub.pipe_added, hub.pipe_removed, hub_certificates(options)) as listener:
        for address in options.listen:
            _listen(listener, address)
        site.claim_lanes(hub.claim)
        log.info("offering the queue on %s", ", ".join(options.listen))
        task_status.started()
        await hub.serve(listener)


def _listen(listener: Listener, address: str) -> None:
    """An `ipc://` socket is for the daemon's own user."""
    path = Path(address.removeprefix("ipc://")) if address.startswith("ipc:") else None
    try:
        if path is None:
            listener.listen(address)
            return
        umask = os.umask(0o177)
        try:
            listener.listen(address)
        finally:
            os.umask(umask)
    except CannotListen as error:
        raise ConfigError(f"{HUB}.listen: {address} cannot be had: {error}") from error


@hookimpl
def faasd_py_register_services(register: RegisterService) -> None:
    """Offer "nng-hub"."""
    register("nng-hub", run)
