"""What the control plane may see of the daemon, and no more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from faasd_py.auth.keyring import Keyring
from faasd_py.config import Config, FunctionSettings
from faasd_py.core.deployment import FunctionDeployment
from faasd_py.deploy.deployer import Deployer
from faasd_py.deploy.namespaces import Namespaces
from faasd_py.deploy.secrets import Secrets
from faasd_py.observe.events import Events
from faasd_py.observe.logbook import Logbook
from faasd_py.observe.meter import Meter
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.contract import Queue
from faasd_py.runtime.contract import Runtime


class PausedLanes(Protocol):
    """What is paused (`worker.paused.Paused` is one)."""

    def __contains__(self, lane: str) -> bool:
        """This lane is."""
        ...

    def since(self) -> Mapping[str, float]:
        """When each was paused, in seconds since 1970."""
        ...


class Running(Protocol):
    """The workers."""

    @property
    def paused(self) -> PausedLanes:
        """The lanes of which no call is begun."""
        ...

    async def pause(self, name: str) -> bool:
        """Begin no call of this lane any more, also after a restart; whether it was going."""
        ...

    async def resume(self, name: str) -> bool:
        """Let it go on; whether it was paused."""
        ...

    def cancel(self, call: str) -> bool:
        """Stop the running attempt of a call, by queue id or X-Call-Id; whether there was one."""
        ...


class Function(Protocol):
    """One function (`runtime.function.Function` is one)."""

    @property
    def name(self) -> str:
        """Without its namespace."""
        ...

    @property
    def namespace(self) -> str:
        """The other half of its label."""
        ...

    @property
    def label(self) -> str:
        """NAME.NAMESPACE."""
        ...

    @property
    def mode(self) -> str:
        """What runs it: `fork`, `stream`, `http`, `url`, or a plug-in's word."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why it cannot be called at present; None when it can."""
        ...

    @property
    def settings(self) -> FunctionSettings:
        """What is in force."""
        ...

    @property
    def runtime(self) -> Runtime:
        """What runs it."""
        ...

    @property
    def meter(self) -> Meter:
        """Its counters."""
        ...

    @property
    def origin(self) -> str:
        """`config` or `deployed`."""
        ...

    @property
    def deployment(self) -> FunctionDeployment | None:
        """As it was sent; None for a function of config.toml's."""
        ...

    @property
    def created_at(self) -> float:
        """Seconds since 1970."""
        ...


class Deployed(Protocol):
    """The registry."""

    def functions(self) -> Sequence[Function]:
        """All functions, also those that could not be opened."""
        ...


class Clockwork(Protocol):
    """The scheduler."""

    def next_of(self, label: str) -> float | None:
        """When a function is called next, in seconds since 1970; None: it is not."""
        ...


class Daemon(Protocol):
    """The daemon as the control plane sees it; `daemon.daemon.Daemon` is one."""

    @property
    def config(self) -> Config:
        """What is in force."""
        ...

    @property
    def queue(self) -> Queue:
        """The calls."""
        ...

    @property
    def workers(self) -> Running:
        """What runs calls."""
        ...

    @property
    def registry(self) -> Deployed:
        """The functions."""
        ...

    @property
    def scheduler(self) -> Clockwork:
        """What calls functions by the clock."""
        ...

    @property
    def keyring(self) -> Keyring:
        """Who may ask for what."""
        ...

    @property
    def metrics(self) -> Metrics:
        """The counters."""
        ...

    @property
    def events(self) -> Events:
        """What happens."""
        ...

    @property
    def stopping(self) -> bool:
        """It is to stop: whoever waits for something is to go."""
        ...

    @property
    def logbook(self) -> Logbook:
        """The lines of functions."""
        ...

    @property
    def namespaces(self) -> Namespaces:
        """The namespaces."""
        ...

    @property
    def deployer(self) -> Deployer:
        """What changes the functions."""
        ...

    @property
    def secrets(self) -> Secrets:
        """The secrets of each namespace."""
        ...

    def health(self) -> str | None:
        """Why the daemon cannot do its work now, in one sentence; None when it can."""
        ...

    async def reload(self) -> str | None:
        """Read config.toml again; what is wrong with it in one sentence (then all stays as it was), else None."""
        ...
