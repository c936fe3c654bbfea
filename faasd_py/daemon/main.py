"""From a configuration file to a running daemon, and back to nothing: the order of opening is the order of this file."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from faasd_py import plugins
from faasd_py.auth import keys
from faasd_py.auth.keyring import Keyring
from faasd_py.config import Config, load
from faasd_py.core.errors import BootError, ConfigError, FaasdError, PluginError
from faasd_py.daemon import descriptors
from faasd_py.daemon.closed import closed_to_functions
from faasd_py.daemon.credentials import link_credentials
from faasd_py.daemon.daemon import Daemon, Sockets
from faasd_py.daemon.lock import locked
from faasd_py.daemon.modes import open_modes
from faasd_py.daemon.notify import Notifier
from faasd_py.daemon.rooms import Rooms
from faasd_py.daemon.sockets import inherit, open_listeners
from faasd_py.deploy.deployer import Deployer
from faasd_py.deploy.deployments import Deployments
from faasd_py.deploy.namespaces import Namespaces, open_namespaces
from faasd_py.deploy.secrets import Secrets
from faasd_py.hookspecs import QueueSite
from faasd_py.observe import log
from faasd_py.observe.events import Events
from faasd_py.observe.functionlog import FunctionLogger
from faasd_py.observe.logbook import open_logbook
from faasd_py.observe.metrics import Metrics
from faasd_py.queue.spool import Spool
from faasd_py.runtime.confine.confiner import Confiner, open_confiner
from faasd_py.runtime.machinery import open_machinery
from faasd_py.runtime.registry import Registry, open_registry

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_log: Final = logging.getLogger("faasd_py.daemon")


def main(path: Path) -> int:
    """Run the daemon; the exit status. What stops the start is one sentence on stderr."""
    try:
        config = load(path)
        log.setup(config.log)
        descriptors.raise_limit()
        loaded = plugins.load(config)
        loaded.check_modes(config.functions)
        loaded.check_services(config.services)
        loaded.check_runtimes(config.runtimes)
        backend = loaded.queue(config)
        trio.run(_live, path, config, loaded, backend, strict_exception_groups=True)
    except (ConfigError, PluginError) as error:
        return _failed(error, 2)
    except FaasdError as error:
        return _failed(error, 1)
    except BaseExceptionGroup as group:
        known = _only(group)
        if known is None:
            raise
        return _failed(known, 2 if isinstance(known, (ConfigError, PluginError)) else 1)
    return 0


async def _live(path: Path, config: Config, loaded: plugins.Plugins, backend: plugins.Backend) -> None:
    notifier = Notifier.from_environment(os.environ)
    with (
        trio.open_signal_receiver(*SIGNALS) as signals,
        locked(Path(config.state.directory)),
        locked(Path(config.state.runtime_directory)),
        _doors(config) as sockets,
        open_confiner(Path(config.state.directory), closed_to_functions(config, os.environ)) as confiner,
    ):
        async with _rooms(config, loaded, backend, confiner) as rooms:
            daemon = Daemon(path=path, config=config, notifier=notifier, rooms=rooms)
            confiner.report()  # not before: what stops the start is one sentence
            await daemon.live(sockets, signals)


@contextmanager
def _doors(config: Config) -> Iterator[Sockets]:
    given = inherit(os.environ)
    with (
        open_listeners(config.gateway.listen, given["gateway"]) as gateway,
        open_listeners(config.metrics.listen, given["metrics"]) as metrics,
    ):
        yield Sockets(gateway, metrics)


@asynccontextmanager
async def _rooms(
    config: Config, loaded: plugins.Plugins, backend: plugins.Backend, confiner: Confiner
) -> AsyncIterator[Rooms]:
    """The rooms that outlive a drain, opened in this order: functions last to go, the queue's books closed before."""
    state = Path(config.state.directory)
    site = _queue_site(config)
    metrics, events = Metrics(), Events()
    keyring = Keyring(keys.load(config.auth, state, os.environ))
    namespaces = _namespaces(config)
    secrets = Secrets(namespaces, _secrets(config))
    for name, observer in loaded.observers:
        events.subscribe(observer, name)
    async with (
        open_modes(loaded.modes, config) as modes,
        open_logbook(_directory(state / "logs"), config.logs) as logbook,
        open_machinery(
            confiner, events.emit, _directory(Path(config.state.runtime_directory) / "helpers")
        ) as machinery,
        open_registry(
            modes,
            namespace=config.gateway.namespace,
            directory=_directory(Path(config.state.runtime_directory) / "functions"),
            secrets=secrets.directory,
            log_for=partial(FunctionLogger, book=logbook),
            meter_for=metrics.meter,
            machinery=machinery,
            emit=events.emit,
        ) as registry,
        backend.open(site) as queue,
    ):
        metrics.logs = logbook.figures
        await registry.apply(config.functions)
        yield Rooms(
            plugins=loaded,
            registry=registry,
            queue=queue,
            spool=Spool(site.spool),
            metrics=metrics,
            events=events,
            keyring=keyring,
            namespaces=namespaces,
            secrets=secrets,
            logbook=logbook,
            deployer=await _restored(config, registry, namespaces, secrets, events),
            confines=machinery.confines,
        )


async def _restored(
    config: Config, registry: Registry, namespaces: Namespaces, secrets: Secrets, events: Events
) -> Deployer:
    """The deployer, when what was deployed before is there again."""
    deployer = Deployer(
        registry=registry,
        deployments=Deployments(Path(config.state.directory) / "functions"),
        namespaces=namespaces,
        secrets=secrets,
        images=config.images,
        events=events,
    )
    try:
        await deployer.restore()
    except OSError as error:
        raise BootError(f"{error.filename}: cannot be read: {error.strerror}") from error
    return deployer


def _queue_site(config: Config) -> QueueSite:
    state = Path(config.state.directory)
    return QueueSite(
        settings=config.queue, directory=_directory(state / "queue"), spool=_directory(state / "spool")
    )


def _namespaces(config: Config) -> Namespaces:
    directory = _directory(Path(config.state.directory) / "namespaces")
    try:
        return open_namespaces(directory, config.gateway.namespace)
    except OSError as error:
        raise BootError(f"{directory}: cannot be read: {error.strerror}") from error


def _secrets(config: Config) -> Path:
    directory = _directory(Path(config.state.directory) / "secrets")
    link_credentials(directory, os.environ)
    return directory


def _directory(path: Path) -> Path:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BootError(f"{path}: cannot be made: {error.strerror}") from error
    return path


def _failed(error: BaseException, status: int) -> int:
    sys.stderr.write(f"faasd-py: {error}\n")
    return status


def _only(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    """The daemon's own error, when a group holds nothing else."""
    ours, rest = group.split(FaasdError)
    if rest is not None or ours is None:
        return None
    leaf: BaseException = ours
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    return leaf
