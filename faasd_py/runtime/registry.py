"""All functions: found by name in one look-up, exchanged as a whole by `apply`."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.annotations import annotated
from faasd_py.core.errors import ConfigError
from faasd_py.hookspecs import RuntimeSite
from faasd_py.observe.meter import Meter
from faasd_py.runtime import program, service, upstream
from faasd_py.runtime.contract import FunctionLog, Runtime
from faasd_py.runtime.function import Function, mode_of
from faasd_py.runtime.keeper import Keeper
from faasd_py.runtime.nursery import open_nursery

OpenMode = Callable[[RuntimeSite], AbstractAsyncContextManager[Runtime]]
_NOT_THE_RUNTIMES: Final = (
    "exec_timeout", "max_inflight", "ordered", "labels", "annotations", "retry", "rate",
)  # fmt: skip
"""Settings that gateway and workers read: a change of them leaves the running processes alone."""
_COMMANDS: Final = frozenset({"fork", "stream", "http"})
"""The built-in modes that run `command`; a plug-in's own rules are its own."""


class Registry:
    """The functions of a daemon; `open_registry` makes it."""

    def __init__(
        self,
        nursery: trio.Nursery,
        modes: Mapping[str, OpenMode],
        *,
        namespace: str,
        directory: Path,
        secrets: Path,
        log_for: Callable[[str], FunctionLog],
        meter_for: Callable[[str], Meter],
        machinery: Any,
    ) -> None:
        self._nursery = nursery
        self._modes = modes
        self._namespace = namespace
        self._directory = directory
        self._secrets = secrets
        self._log_for = log_for
        self._meter_for = meter_for
        self._machinery = machinery
        self._keepers: dict[str, Keeper] = {}
        self._by_key: dict[bytes, Function] = {}
        self._by_label: dict[str, Function] = {}
        self._numbers = count(1)
        self._turn = trio.Lock()

    def get(self, key: bytes) -> Function | None:
        """The function called `NAME` or `NAME.NAMESPACE`."""
        return self._by_key.get(key)

    def lane(self, label: str) -> Function | None:
        """The function whose label is `NAME.NAMESPACE`."""
        return self._by_label.get(label)

    def functions(self) -> list[Function]:
        """All, by name."""
        return sorted(self._by_label.values(), key=lambda function: function.label)

    def problems(self, functions: Mapping[str, FunctionSettings] | None = None) -> list[str]:
        """What would keep functions from being opened, a sentence each; those in force unless others are given."""
        if functions is None:
            functions = {function.name: function.settings for function in self.functions()}
        found = (problems(name, settings, self._modes, self._secrets) for name, settings in functions.items())
        return [problem for each in found for problem in each]

    async def apply(self, functions: Mapping[str, FunctionSettings]) -> None:
        """Make these the functions.

        New and changed ones are opened first, and a changed one must answer (or fail to, within start_timeout) before it
        takes over; what is replaced or removed finishes its calls in the background. One that cannot be opened is kept,
        answers every call with the reason, and is tried again.
        """
        functions = {name: _in_force(settings) for name, settings in functions.items()}
        async with self._turn:
            keepers = dict(self._keepers)
            for name in keepers.keys() - functions.keys():
                del keepers[name]
            fresh = [name for name, settings in functions.items() if self._changed(name, settings)]
            for name in fresh:
                keepers[name] = self._keep(name, functions[name])
            await self._wait_for(keepers, fresh)
            for name, settings in functions.items():
                keepers[name].function.settings = settings
            self._put(keepers)

    def _changed(self, name: str, settings: FunctionSettings) -> bool:
        keeper = self._keepers.get(name)
        if keeper is None:
            return True
        same = {key: getattr(keeper.settings, key) for key in _NOT_THE_RUNTIMES}
        return msgspec.structs.replace(settings, **same) != keeper.settings

    def _keep(self, name: str, settings: FunctionSettings) -> Keeper:
        label = f"{name}.{self._namespace}"
        directory = self._directory / str(next(self._numbers))  # short: a socket's path has at most 107 bytes
        site = RuntimeSite(
            name=name,
            namespace=self._namespace,
            settings=settings,
            directory=directory,
            secrets=self._secrets,
            log=self._log_for(label),
            machinery=self._machinery,
        )
        mode, opened = mode_of(settings), trio.Event()
        function = Function(name, self._namespace, mode, settings, self._meter_for(label), opened)
        after = self._keepers.get(name) if settings.port else None
        keeper = Keeper(function, settings, directory, partial(self._open, mode, site), opened, after)
        self._nursery.start_soon(keeper.run)
        return keeper

    def _open(self, mode: str, site: RuntimeSite) -> AbstractAsyncContextManager[Runtime]:
        if mode not in self._modes:
            raise ConfigError(_no_mode(site.name, mode, self._modes))
        return self._modes[mode](site)

    async def _wait_for(self, keepers: Mapping[str, Keeper], fresh: list[str]) -> None:
        try:
            async with open_nursery() as nursery:
                for name in fresh:
                    if keepers[name].after is None:
                        nursery.start_soon(partial(keepers[name].settled, answering=name in self._keepers))
        except BaseException:
            for name in fresh:
                keepers[name].close()
            raise

    def _put(self, keepers: dict[str, Keeper]) -> None:
        """From here on these are found; others drain."""
        old, self._keepers = self._keepers, keepers
        found = [keeper.function for keeper in keepers.values()]
        self._by_label = {function.label: function for function in found}
        self._by_key = {function.label.encode(): function for function in found}
        self._by_key |= {function.name.encode(): function for function in found}
        for name, keeper in old.items():
            if keepers.get(name) is not keeper:
                keeper.close()

    def close(self) -> None:
        """Every function drains; nothing is found any more."""
        self._put({})


def _in_force(settings: FunctionSettings) -> FunctionSettings:
    """The settings with what OpenFaaS' annotations say over them."""
    retry = annotated(settings.retry, settings.annotations)
    return settings if retry is settings.retry else msgspec.structs.replace(settings, retry=retry)


def problems(name: str, settings: FunctionSettings, modes: Mapping[str, Any], secrets: Path) -> Iterator[str]:
    """What would keep a function from being opened, a sentence each, beginning with the key."""
    mode = mode_of(settings)
    if mode not in modes:
        yield _no_mode(name, mode, modes)
    if settings.command is not None and mode in _COMMANDS:
        yield from program.problems(name, settings, secrets)
    if mode == "http":
        yield from service.problems(name, settings)
    if settings.url is not None:
        yield from upstream.problems(name, settings)


def _no_mode(name: str, mode: str, modes: Mapping[str, Any]) -> str:
    return f"functions.{name}.mode: there is no mode {mode!r}; there are {', '.join(sorted(modes))}"


@asynccontextmanager
async def open_registry(
    modes: Mapping[str, OpenMode],
    *,
    namespace: str,
    directory: Path,
    secrets: Path,
    log_for: Callable[[str], FunctionLog],
    meter_for: Callable[[str], Meter],
    machinery: Any = None,
) -> AsyncIterator[Registry]:
    """An empty registry. When the block ends, running calls finish and every function is stopped.

    `directory` is the registry's own: what a crash left in it is removed.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)  # noqa: ASYNC240 - once, at the start
    async with open_nursery() as nursery:
        registry = Registry(
            nursery, modes, namespace=namespace, directory=directory, secrets=secrets,
            log_for=log_for, meter_for=meter_for, machinery=machinery,
        )  # fmt: skip
        try:
            yield registry
        finally:
            registry.close()
