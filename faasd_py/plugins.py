"""Find, check and register the plug-ins that the configuration names; nothing else is loaded.

The built-in backends and runtimes are plug-ins too: the same hooks, only that their modules are known by heart.
"""

from __future__ import annotations

import importlib
import site
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import MappingProxyType, ModuleType
from typing import Any, Final

import msgspec
import pluggy

from faasd_py import hookspecs
from faasd_py.config import Config, FunctionSettings
from faasd_py.core.errors import PluginError
from faasd_py.hookspecs import API_VERSION, PROJECT, OpenShared, QueueSite, RuntimeSite
from faasd_py.queue.contract import Capabilities, Queue
from faasd_py.runtime.contract import OpenRuntime
from faasd_py.runtime.function import mode_of

OpenQueue = Callable[[QueueSite], AbstractAsyncContextManager[Queue]]
Observer = Callable[[Mapping[str, Any]], None]

BUILT_IN_QUEUES: Final[Mapping[str, str]] = MappingProxyType(
    {"sqlite": "faasd_py.queue.sqlite", "memory": "faasd_py.queue.memory"}
)
BUILT_IN_RUNTIMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "process": "faasd_py.runtime.process",
        "service": "faasd_py.runtime.service",
        "upstream": "faasd_py.runtime.upstream",
    }
)


class Backend(msgspec.Struct, frozen=True):
    """A queue backend that a plug-in offers."""

    plugin: str
    open: OpenQueue
    capabilities: Capabilities


class Mode(msgspec.Struct, frozen=True):
    """A runtime that a plug-in offers."""

    plugin: str
    open: Callable[[RuntimeSite], OpenRuntime]
    open_shared: OpenShared | None = None


class Service(msgspec.Struct, frozen=True):
    """A task of its own that a plug-in offers."""

    plugin: str
    run: Callable[..., Awaitable[None]]


class Plugins(msgspec.Struct, frozen=True):
    """What the loaded plug-ins offer, by the names that config.toml uses."""

    queues: dict[str, Backend]
    modes: dict[str, Mode]
    services: dict[str, Service]
    observers: tuple[tuple[str, Observer], ...]

    def queue(self, config: Config) -> Backend:
        """The backend that `[queue] backend` names.

        Raises:
            PluginError: nobody registered it.
        """
        name = config.queue.backend
        if backend := self.queues.get(name):
            return backend
        raise PluginError(f"queue.backend: plug-in {name!r} registers no queue backend of that name")

    def check_services(self, names: Iterable[str]) -> None:
        """Every service that has a table in `[services]` is registered.

        Raises:
            PluginError: naming the service.
        """
        for name in names:
            if name not in self.services:
                raise PluginError(
                    f"services.{name}: no plug-in named in plugins = [...] registers a service of that name"
                )

    def check_runtimes(self, names: Iterable[str]) -> None:
        """Every plug-in that has a table in `[runtimes]` registers a mode.

        Raises:
            PluginError: naming the table.
        """
        for name in names:
            if name not in {mode.plugin for mode in self.modes.values()}:
                raise PluginError(
                    f"runtimes.{name}: no plug-in of that name in plugins = [...] registers a mode"
                )

    def check_modes(self, functions: Mapping[str, FunctionSettings]) -> None:
        """Every function's mode is registered.

        Raises:
            PluginError: naming the function and its mode.
        """
        for name, function in functions.items():
            if (mode := mode_of(function)) not in self.modes:
                known = ", ".join(sorted(self.modes))
                raise PluginError(
                    f"functions.{name}: nothing here runs mode {mode!r} (there is {known}); "
                    f"install a plug-in for it and name it in plugins = [...]"
                )


def directory(config: Config) -> Path:
    """Where `faasd-py plugins install` puts plug-ins: below the state directory, a prefix of pip's."""
    return Path(config.state.directory) / "plugins"


def use_directory(config: Config) -> None:
    """Make what lies in `directory` importable, behind everything that is installed beside the daemon."""
    for packages in sorted(directory(config).glob("**/python3*/*-packages")):
        if str(packages) not in sys.path:
            site.addsitedir(str(packages))


def installed() -> dict[str, EntryPoint]:
    """The plug-ins that pip installed, by name; the built-in ones are left out."""
    own = {*BUILT_IN_QUEUES, *BUILT_IN_RUNTIMES}
    return {point.name: point for point in entry_points(group=PROJECT) if point.name not in own}


def load(config: Config) -> Plugins:
    """Load what the configuration names and check that it fits.

    Raises:
        PluginError: one sentence that names the plug-in and what to do.
    """
    use_directory(config)
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    for name in _wanted(config):
        _load_one(manager, name)
    try:
        manager.check_pending()
    except pluggy.PluginValidationError as error:
        plugin = manager.get_name(error.plugin) or "?"
        raise PluginError(f"plug-in {plugin!r} implements a hook that does not exist: {error}") from error
    return _register(manager)


def _wanted(config: Config) -> Iterable[str]:
    """Plug-in names in the order they are loaded, each once."""
    return dict.fromkeys((*BUILT_IN_RUNTIMES, config.queue.backend, *config.plugins))


def _load_one(manager: pluggy.PluginManager, name: str) -> None:
    module = _find(name)
    written_for = getattr(module, "api_version", API_VERSION)
    if not isinstance(written_for, int) or written_for > API_VERSION:
        raise PluginError(
            f"plug-in {name!r} was written for api_version {written_for}, this daemon has {API_VERSION}: "
            f"upgrade faasd-py, or install an older version of the plug-in"
        )
    try:
        manager.register(module, name)
    except (ValueError, pluggy.PluginValidationError) as error:
        raise PluginError(f"plug-in {name!r} does not fit this version of faasd-py: {error}") from error


def _find(name: str) -> ModuleType | object:
    known = BUILT_IN_QUEUES.get(name) or BUILT_IN_RUNTIMES.get(name)
    if known:
        return importlib.import_module(known)
    point = installed().get(name)
    if point is None:
        raise PluginError(
            f"plug-in {name!r} is not installed: faasd-py plugins install {name}, or correct the name"
        )
    try:
        return point.load()  # type: ignore[no-any-return]
    except Exception as error:  # an import may raise anything; it is the plug-in's
        raise PluginError(f"plug-in {name!r} cannot be loaded from {point.value}: {_words(error)}") from error


def _register(manager: pluggy.PluginManager) -> Plugins:
    found = Plugins({}, {}, {}, ())
    observers = []
    for name, plugin in manager.list_name_plugin():
        _ring(name, plugin, "faasd_py_register_queues", _queue_register(found.queues, name))
        _ring(name, plugin, "faasd_py_register_runtimes", _mode_register(found.modes, name))
        _ring(name, plugin, "faasd_py_register_services", _service_register(found.services, name))
        if observe := getattr(plugin, "faasd_py_observe", None):
            observers.append((name, observe))
    return msgspec.structs.replace(found, observers=tuple(observers))


def _ring(name: str, plugin: object, hook: str, register: Callable[..., None]) -> None:
    """Call one plug-in's hook, so that an error carries its name (pluggy alone does not tell)."""
    implementation = getattr(plugin, hook, None)
    if implementation is None:
        return
    try:
        implementation(register=register)
    except PluginError:
        raise
    except Exception as error:  # it is the plug-in's
        raise PluginError(f"plug-in {name!r} failed in {hook}: {_words(error)}") from error


def _queue_register(queues: dict[str, Backend], plugin: str) -> hookspecs.RegisterQueue:
    def register(name: str, open_queue: OpenQueue, capabilities: Any) -> None:
        if taken := queues.get(name):
            raise PluginError(
                f"plug-ins {taken.plugin!r} and {plugin!r} both register the queue backend {name!r}"
            )
        queues[name] = Backend(plugin, open_queue, capabilities)

    return register


def _mode_register(modes: dict[str, Mode], plugin: str) -> hookspecs.RegisterRuntime:
    def register(
        mode: str, open_runtime: Callable[[RuntimeSite], OpenRuntime], open_shared: OpenShared | None = None
    ) -> None:
        if taken := modes.get(mode):
            raise PluginError(f"plug-ins {taken.plugin!r} and {plugin!r} both register the mode {mode!r}")
        modes[mode] = Mode(plugin, open_runtime, open_shared)

    return register


def _service_register(services: dict[str, Service], plugin: str) -> hookspecs.RegisterService:
    def register(name: str, run: Callable[..., Awaitable[None]]) -> None:
        if taken := services.get(name):
            raise PluginError(f"plug-ins {taken.plugin!r} and {plugin!r} both register the service {name!r}")
        services[name] = Service(plugin, run)

    return register


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
