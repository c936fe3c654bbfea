"""All functions: found by name in one look-up, config.toml's exchanged as a whole by `apply`, others one by one."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from faasd_py.config import FunctionSettings
from faasd_py.core import names, scaling
from faasd_py.core.annotations import annotated, asks
from faasd_py.core.errors import BadRequest, ConfigError
from faasd_py.core.probes import HEALTH, READY
from faasd_py.hookspecs import RuntimeSite, nobody_hears
from faasd_py.observe.meter import Meter
from faasd_py.runtime.confine.host import Host
from faasd_py.runtime.contract import FunctionLog, Runtime
from faasd_py.runtime.function import Function
from faasd_py.runtime.keeper import Keeper
from faasd_py.runtime.nursery import open_nursery
from faasd_py.runtime.problems import no_mode, problems
from faasd_py.runtime.turns import Turns
from faasd_py.runtime.wanted import Wanted

log: Final = logging.getLogger("faasd_py.runtime")
OpenMode = Callable[[RuntimeSite], AbstractAsyncContextManager[Runtime]]
_NOT_THE_RUNTIMES: Final = (
    "exec_timeout", "max_inflight", "ordered", "labels", "annotations", "retry", "rate", "auth",
    "schedule", "catch_up",
)  # fmt: skip
"""Settings that gateway and workers read: a change of them leaves the running processes alone, but for the labels and
annotations that say how many replicas there are and how they are asked."""
_OPENING: Final = 900.0
"""Seconds that a deployed function may take to be opened."""
_DEFAULTS: Final = FunctionSettings()


class Registry:
    """The functions of a daemon; `open_registry` makes it.

    They come from two layers: config.toml's, and what is deployed over the REST API. Of two with the same label
    config.toml's is in force; the deployed one comes back when config.toml drops it.
    """

    def __init__(
        self,
        nursery: trio.Nursery,
        modes: Mapping[str, OpenMode],
        *,
        namespace: str,
        directory: Path,
        secrets: Callable[[str], Path],
        log_for: Callable[[str], FunctionLog],
        meter_for: Callable[[str], Meter],
        machinery: Any,
        clock: Callable[[], float],
        emit: Callable[..., None],
    ) -> None:
        self.namespace = namespace
        """The one of functions that are called without one, and of config.toml's."""
        self.modes = modes
        self._nursery = nursery
        self._directory = directory
        self._secrets = secrets
        self._log_for = log_for
        self._meter_for = meter_for
        self._machinery = machinery
        self._clock = clock
        self._emit = emit
        self._configured: dict[str, Wanted] = {}
        self._deployed: dict[str, Wanted] = {}
        self._keepers: dict[str, Keeper] = {}
        self._by_key: dict[bytes, Function] = {}
        self._numbers = count(1)
        self._applying = trio.Lock()
        self._turns = Turns()
        self.changed = trio.Event()
        """Set, and exchanged for a new one, whenever there are other functions or other settings than before."""

    def get(self, key: bytes) -> Function | None:
        """The function called `NAME` or `NAME.NAMESPACE`."""
        return self._by_key.get(key)

    def lane(self, label: str) -> Function | None:
        """The function whose label is `NAME.NAMESPACE`."""
        keeper = self._keepers.get(label)
        return None if keeper is None else keeper.function

    def functions(self) -> list[Function]:
        """All, by label."""
        return [self._keepers[label].function for label in sorted(self._keepers)]

    def deployments(self) -> list[Wanted]:
        """All that are deployed, by label, also those whose place config.toml has taken."""
        return [self._deployed[label] for label in sorted(self._deployed)]

    def configured(self, label: str) -> bool:
        """Whether config.toml has it."""
        return label in self._configured

    def deployed(self, label: str) -> Wanted | None:
        """What is deployed under this label, in force or not."""
        return self._deployed.get(label)

    def problems(self, functions: Mapping[str, FunctionSettings] | None = None) -> list[str]:
        """What would keep functions from being opened, a sentence each; those in force unless others are given."""
        if functions is None:
            return [sentence for function in self.functions() for sentence in self._problems_of(function)]
        secrets = self._secrets(self.namespace)
        found = (
            problems(name, settings, self.modes, secrets, self._host) for name, settings in functions.items()
        )
        return [problem for each in found for problem in each]

    @property
    def _host(self) -> Host:
        return self._machinery.confiner.host if self._machinery is not None else Host()

    def _problems_of(self, function: Function) -> list[str]:
        secrets = self._secrets(function.namespace)
        found = problems(function.name, function.settings, self.modes, secrets, self._host)
        return [function.said(sentence) for sentence in found]

    async def apply(self, functions: Mapping[str, FunctionSettings]) -> None:
        """Make these config.toml's functions.

        New and changed ones are opened first, and a changed one must answer (or fail to, within start_timeout) before it
        takes over; what is replaced or removed finishes its calls in the background. One that cannot be opened is kept,
        answers every call with the reason, and is tried again.
        """
        async with self._applying:
            new = {wanted.label: wanted for wanted in map(self._configure, functions.items())}
            labels = self._configured.keys() | new.keys()
            async with self._turns.of(labels):
                await self._exchange({label: new.get(label) or self._deployed.get(label) for label in labels})
                self._configured = new
                self._say_shadowed()

    async def refit(self, refitted: Callable[[Wanted], Wanted]) -> None:
        """Make of each deployed function what `refitted` says, in its turn; those that change are exchanged as in `apply`."""
        async with open_nursery() as nursery:
            for label in self._deployed.keys() | self._turns.taken():
                nursery.start_soon(self._refit, label, refitted)

    async def _refit(self, label: str, refitted: Callable[[Wanted], Wanted]) -> None:
        async with self._turns.of([label]):
            old = self._deployed.get(label)
            if old is None:
                return
            wanted = self._deployed[label] = _in_force(refitted(old))
            if label not in self._configured:
                await self._exchange({label: wanted})

    async def restore(self, deployments: Iterable[Wanted]) -> None:
        """Put what was deployed in an earlier life behind config.toml's functions, as `apply` does."""
        async with self._applying:
            found = {wanted.label: wanted for wanted in map(_in_force, deployments)}
            async with self._turns.of(found):
                self._deployed = found
                await self._exchange(
                    {label: wanted for label, wanted in found.items() if label not in self._configured}
                )
                self._say_shadowed()

    def turn(self, label: str) -> AbstractAsyncContextManager[None]:
        """The right to change what is deployed under this label: nobody else does meanwhile."""
        return self._turns.of([label])

    async def deploy(self, wanted: Wanted, store: Callable[[], Awaitable[None]]) -> None:
        """Deploy a function, or replace the deployed one; called by whoever has its turn.

        It is opened, and must answer within start_timeout then; `store` is called, and it takes over. When either
        fails, all is as it was. One that needs the fixed port of the old one takes over before it is opened.

        Raises:
            BadRequest: it cannot be run; the sentence names the function.
        """
        wanted = _in_force(wanted)
        keeper = self._keep(wanted)
        try:
            if keeper.after is None:
                await _proved(keeper)
            with trio.CancelScope(shield=True):
                await store()
                self._deployed[wanted.label] = wanted
                self._put({wanted.label: keeper})
        except BaseException:
            keeper.close()
            raise

    async def remove(self, label: str, store: Callable[[], Awaitable[None]]) -> None:
        """Take away what is deployed under this label, after `store`; its calls finish. Called in its turn."""
        with trio.CancelScope(shield=True):
            await store()
            del self._deployed[label]
            if label not in self._configured:
                self._put({label: None})

    def scale(self, label: str, replicas: int) -> None:
        """Ask for so many replicas from now on, also after it is replaced. Called in its turn."""
        if label in self._deployed:
            self._deployed[label] = msgspec.structs.replace(self._deployed[label], replicas=replicas)
        function = self._keepers[label].function
        function.scaled = replicas
        function.scale()

    def _configure(self, one: tuple[str, FunctionSettings]) -> Wanted:
        name, settings = one
        old = self._configured.get(f"{name}.{self.namespace}")
        created_at = old.created_at if old else self._clock()
        wanted = Wanted(name=name, namespace=self.namespace, settings=settings, created_at=created_at)
        return _in_force(wanted)

    def _say_shadowed(self) -> None:
        for label in sorted(self._configured.keys() & self._deployed.keys()):
            log.warning("%s is deployed, but config.toml has it, too: config.toml's is in force", label)

    async def _exchange(self, targets: Mapping[str, Wanted | None]) -> None:
        """From what there is to these, None for none: opened first, then exchanged all at once."""
        fresh = {
            label: self._keep(wanted) for label, wanted in targets.items() if wanted and self._changed(wanted)
        }
        await self._wait_for(fresh)
        for label, wanted in targets.items():
            if wanted is not None and label not in fresh:
                self._keepers[label].function.settings = wanted.settings
        self._put({**fresh, **{label: None for label, wanted in targets.items() if wanted is None}})

    def _changed(self, wanted: Wanted) -> bool:
        keeper = self._keepers.get(wanted.label)
        if keeper is None or keeper.function.deployment != wanted.deployment:
            return True
        return (
            _of_the_runtime(wanted.settings) != _of_the_runtime(keeper.settings)
            or wanted.trouble != keeper.refused
        )

    def _keep(self, wanted: Wanted) -> Keeper:
        directory = self._directory / str(next(self._numbers))  # short: a socket's path has at most 107 bytes
        site = RuntimeSite(
            name=wanted.name,
            namespace=wanted.namespace,
            settings=wanted.settings,
            directory=directory,
            secrets=self._secrets(wanted.namespace),
            log=self._log_for(wanted.label),
            machinery=self._machinery,
            emit=self._emit,
        )
        opened, old = trio.Event(), self._keepers.get(wanted.label)
        function = Function(wanted, self._meter_for(wanted.label), opened)
        if function.scaled is None and old is not None:
            function.scaled = old.function.scaled
        after = old if wanted.settings.port and function.mode == "http" else None
        open_it = partial(self._open, function.mode, site, wanted.trouble)
        before = old.function if old is not None and after is None else None
        keeper = Keeper(function, wanted.settings, directory, open_it, opened, after, wanted.trouble, before)
        self._nursery.start_soon(keeper.run)
        return keeper

    def _open(self, mode: str, site: RuntimeSite, trouble: str) -> AbstractAsyncContextManager[Runtime]:
        if trouble:
            raise ConfigError(trouble)
        if mode not in self.modes:
            raise ConfigError(no_mode(site.name, mode, self.modes))
        return self.modes[mode](site)

    async def _wait_for(self, fresh: Mapping[str, Keeper]) -> None:
        try:
            async with open_nursery() as nursery:
                for label, keeper in fresh.items():
                    if keeper.after is None:
                        nursery.start_soon(partial(keeper.settled, answering=label in self._keepers))
        except BaseException:
            for keeper in fresh.values():
                keeper.close()
            raise

    def _put(self, changes: Mapping[str, Keeper | None]) -> None:
        """From here on these are found, None is not; what was there drains."""
        changed, self.changed = self.changed, trio.Event()
        for label, keeper in changes.items():
            old = self._keepers.pop(label, None)
            if keeper is not None:
                self._keepers[label] = keeper
                keeper.before = None
            for key in self._keys(label):
                self._by_key.pop(key, None)
                if keeper is not None:
                    self._by_key[key] = keeper.function
            if old is not None:
                old.close()
        changed.set()

    def _keys(self, label: str) -> Iterator[bytes]:
        yield label.encode()
        name, namespace = names.split(label)
        if namespace == self.namespace:
            yield name.encode()

    def close(self) -> None:
        """Every function drains; nothing is found any more."""
        self._put(dict.fromkeys(self._keepers))


def _of_the_runtime(settings: FunctionSettings) -> FunctionSettings:
    """The settings without what a change of leaves the running processes alone."""
    defaults = {key: getattr(_DEFAULTS, key) for key in _NOT_THE_RUNTIMES}
    labels = {key: text for key, text in settings.labels.items() if key.startswith(scaling.PREFIX)}
    asked = {key: text for key, text in settings.annotations.items() if key.startswith((READY, HEALTH))}
    return msgspec.structs.replace(settings, **{**defaults, "labels": labels, "annotations": asked})


async def _proved(keeper: Keeper) -> None:
    """Returns when it answers.

    Raises:
        BadRequest: it cannot be opened, or does not answer within start_timeout after it is.
    """
    function = keeper.function
    with trio.move_on_after(_OPENING):  # an image may have to be fetched first
        await keeper.opened.wait()
    settled = await keeper.settled(answering=True)
    if function.trouble is not None:
        place = "" if function.trouble.startswith("function ") else f"function {function.label}: "
        raise BadRequest(f"{place}{function.trouble}")
    if not settled:
        replicas = function.runtime.replicas()
        why = replicas.trouble
        if not replicas.failures:
            why = f"not ready within {keeper.settings.start_timeout}{why and f': {why}'}"
        raise BadRequest(f"function {function.label}: {why}")


def _in_force(wanted: Wanted) -> Wanted:
    """With what OpenFaaS' annotations say over the settings."""
    settings = wanted.settings
    retry, auth = annotated(settings.retry, settings.annotations), asks(settings.auth, settings.annotations)
    if retry is settings.retry and auth is settings.auth:
        return wanted
    return msgspec.structs.replace(wanted, settings=msgspec.structs.replace(settings, retry=retry, auth=auth))


@asynccontextmanager
async def open_registry(
    modes: Mapping[str, OpenMode],
    *,
    namespace: str,
    directory: Path,
    secrets: Callable[[str], Path],
    log_for: Callable[[str], FunctionLog],
    meter_for: Callable[[str], Meter],
    machinery: Any = None,
    clock: Callable[[], float] = time.time,
    emit: Callable[..., None] = nobody_hears,
) -> AsyncIterator[Registry]:
    """An empty registry. When the block ends, running calls finish and every function is stopped.

    `directory` is the registry's own: what a crash left in it is removed. `secrets` says where a namespace's lie.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)  # noqa: ASYNC240 - once, at the start
    async with open_nursery() as nursery:
        registry = Registry(
            nursery, modes, namespace=namespace, directory=directory, secrets=secrets,
            log_for=log_for, meter_for=meter_for, machinery=machinery, clock=clock, emit=emit,
        )  # fmt: skip
        try:
            yield registry
        finally:
            registry.close()
