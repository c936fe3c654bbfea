"""What a plug-in may implement. Hooks are synchronous and register factories; opening is theirs.

A plug-in is a module named by an entry point of the group `faasd_py`; only those that config.toml names are loaded.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec
import pluggy

from faasd_py.config import FunctionSettings, QueueSettings

PROJECT: Final = "faasd_py"
API_VERSION: Final = 1
"""Of what `faasd_py.api` offers. A plug-in's module says which it was written for: `api_version = 1`."""
hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


class QueueSite(msgspec.Struct, frozen=True, kw_only=True):
    """Where a queue is to be opened: `[queue]` of the configuration, and a directory that is its own."""

    settings: QueueSettings
    directory: Path
    spool: Path
    """Large bodies are written here before they are put; a put takes its file over."""


def nobody_hears(event: str, **facts: Any) -> None:
    """Where there are no observers."""


class RuntimeSite(msgspec.Struct, frozen=True, kw_only=True):
    """What a runtime is opened with: its function, and what the daemon lends it.

    `log` is a `runtime.contract.FunctionLog`; `machinery` is shared by all functions of one daemon and belongs to the
    built-in runtimes.
    """

    name: str
    namespace: str
    settings: FunctionSettings
    directory: Path
    """Private and short-lived: sockets may lie here."""
    secrets: Path
    log: Any
    machinery: Any = None
    options: Mapping[str, Any] = {}
    """`[runtimes.NAME]` of the plug-in that registered the mode, as it is."""
    shared: Any = None
    """What the mode's `open_shared` gave: one for all functions of the daemon."""
    emit: Callable[..., None] = nobody_hears
    """`emit("function.crashed", function="NAME.NAMESPACE", …)`: tell the daemon's observers what happened."""


OpenShared = Callable[[Mapping[str, Any], Path], AbstractAsyncContextManager[Any]]
"""Called with `[runtimes.NAME]` and a directory that is the plug-in's own and survives; entered once, at the start."""
ClaimLane = Callable[[str, bool], bool]
"""Asked with a lane that has calls, and whether this daemon has a function for it. True: the service sees to it, and
the daemon's workers leave the lane alone until `queue.leave(lane)`."""


def _nobody_else(claim: ClaimLane) -> None:
    """Where there are no workers, nobody has to be told."""


class ServiceSite(msgspec.Struct, frozen=True, kw_only=True):
    """What a service is run with: its table `[services.NAME]` as it is, the daemon's queue, a directory of its own.

    `queue` keeps `queue.contract.Queue`: it gives out no call of a lane that an operator paused, and refuses to start one
    (QueueUnavailable). `spool` is where its large bodies lie (`faasd_py.api.Spool`).
    """

    options: Mapping[str, Any]
    queue: Any
    spool: Any
    directory: Path
    claim_lanes: Callable[[ClaimLane], None] = _nobody_else
    """A service that gives calls to others says here how it is asked, for each lane that is about to be served."""


class RegisterQueue(Protocol):
    """Offer a backend under the name that `[queue] backend` uses."""

    def __call__(
        self,
        name: str,
        open_queue: Callable[[QueueSite], AbstractAsyncContextManager[Any]],
        capabilities: Any,
    ) -> None:
        """Raises PluginError when the name is taken."""


class RegisterRuntime(Protocol):
    """Offer a runtime under the name that `mode` uses."""

    def __call__(
        self,
        mode: str,
        open_runtime: Callable[[RuntimeSite], AbstractAsyncContextManager[Any]],
        open_shared: OpenShared | None = None,
    ) -> None:
        """Raises PluginError when the mode is taken."""


class RegisterService(Protocol):
    """Offer a service under the name of its table in `[services]`."""

    def __call__(self, name: str, run: Callable[..., Awaitable[None]]) -> None:
        """Raises PluginError when the name is taken."""


@hookspec
def faasd_py_register_queues(register: RegisterQueue) -> None:
    """Call `register(name, open_queue, capabilities)` for each backend; the queue keeps `queue.contract.Queue`."""


@hookspec
def faasd_py_register_runtimes(register: RegisterRuntime) -> None:
    """Call `register(mode, open_runtime)` for each mode; the runtime keeps `runtime.contract.Runtime`.

    What all functions of a mode share is opened by `register(mode, open_runtime, open_shared)`: before the functions, and
    closed after them. What it raises at the start ends the daemon; a `ConfigError` or `PluginError` as one sentence.
    """


@hookspec
def faasd_py_register_services(register: RegisterService) -> None:
    """Call `register(name, run)` for each service; `await run(site, task_status=…)` is a task of the daemon's.

    It runs when config.toml has a table `[services.NAME]`, calls `task_status.started()` when it is ready, and is
    cancelled before the queue closes. What it raises ends the daemon.
    """


@hookspec
def faasd_py_observe(event: Mapping[str, Any]) -> None:
    """Be told what happened: `event["event"]` names it. Synchronous, quick, and whatever it raises is logged only."""
