"""The rooms that are opened before the daemon serves and closed after its drain; `daemon.main` opens them in order."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from faasd_py.auth.keyring import Keyring
from faasd_py.deploy.deployer import Deployer
from faasd_py.deploy.namespaces import Namespaces
from faasd_py.deploy.secrets import Secrets
from faasd_py.observe.events import Events
from faasd_py.observe.logbook import Logbook
from faasd_py.observe.metrics import Metrics
from faasd_py.plugins import Plugins
from faasd_py.queue.contract import Queue
from faasd_py.queue.spool import Spool
from faasd_py.runtime.registry import Registry


class Rooms(msgspec.Struct, frozen=True, kw_only=True):
    """One daemon's. `confines` tells of a process whether it is a confined function's."""

    plugins: Plugins
    registry: Registry
    queue: Queue
    spool: Spool
    metrics: Metrics
    events: Events
    keyring: Keyring
    namespaces: Namespaces
    secrets: Secrets
    logbook: Logbook
    deployer: Deployer
    confines: Callable[[int], bool]
