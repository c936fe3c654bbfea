"""`faasd-py plugins`: what there is besides, and what each can do."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from importlib.metadata import EntryPoint

import msgspec

from faasd_py import plugins
from faasd_py.cli.terminal import say_json, table
from faasd_py.config import Config, find, load
from faasd_py.core.errors import PluginError
from faasd_py.queue.contract import Capabilities


class Backend(msgspec.Struct, frozen=True):
    """A queue backend and what it can do."""

    name: str
    capabilities: Capabilities


class Plugin(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One plug-in: where it is from, what it registers, or why it cannot be loaded."""

    name: str
    module: str
    distribution: str
    queues: tuple[Backend, ...] = ()
    modes: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    observes: bool = False
    trouble: str | None = None


def run(options: argparse.Namespace) -> int:
    """A line for each plug-in; one that is broken does not hide the others."""
    found = list(_all(settings_or_defaults(options)))
    if options.json:
        say_json(found)
    else:
        table(("NAME", "FROM", "REGISTERS"), [(p.name, p.distribution, _registers(p)) for p in found])
    return 0


def settings_or_defaults(options: argparse.Namespace) -> Config:
    """The configuration; without a file where it would be by default, the defaults."""
    path = find(options.config)
    if options.config is None and not path.exists():
        return Config()
    return load(path)


def _all(config: Config) -> Iterator[Plugin]:
    plugins.use_directory(config)
    for name, module in {**plugins.BUILT_IN_QUEUES, **plugins.BUILT_IN_RUNTIMES}.items():
        yield _look(config, name, module, "built-in")
    for name, point in sorted(plugins.installed().items()):
        yield _look(config, name, point.value, _distribution(point))


def _look(config: Config, name: str, module: str, distribution: str) -> Plugin:
    plugin = Plugin(name=name, module=module, distribution=distribution)
    try:
        loaded = plugins.load(Config(plugins=[name], state=config.state))
    except PluginError as error:
        return msgspec.structs.replace(plugin, trouble=str(error))
    return msgspec.structs.replace(
        plugin,
        queues=tuple(Backend(key, q.capabilities) for key, q in loaded.queues.items() if q.plugin == name),
        modes=tuple(key for key, mode in loaded.modes.items() if mode.plugin == name),
        services=tuple(key for key, service in loaded.services.items() if service.plugin == name),
        observes=any(observer == name for observer, _ in loaded.observers),
    )


def _distribution(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "?"


def _registers(plugin: Plugin) -> str:
    if plugin.trouble:
        return plugin.trouble
    words = [f"queue {backend.name} ({_abilities(backend.capabilities)})" for backend in plugin.queues]
    words += [f"mode {mode}" for mode in plugin.modes]
    words += [f"service {service}" for service in plugin.services]
    words += ["observer"] if plugin.observes else []
    return ", ".join(words) or "nothing"


def _abilities(capabilities: Capabilities) -> str:
    facts = msgspec.structs.asdict(capabilities)
    words = [key for key, value in facts.items() if value is True]
    if capabilities.max_body is not None:
        words.append(f"max_body {capabilities.max_body}")
    return ", ".join(words) or "none of the extras"
