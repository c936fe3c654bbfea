"""`faasd-py check`: what is wrong with the configuration, without starting anything."""

from __future__ import annotations

import argparse
import os
import pwd
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from faasd_py.cli.errors import Usage
from faasd_py.cli.terminal import say, table
from faasd_py.config import Config, TlsSettings, find
from faasd_py.config.load import DEFAULT_PATH, examine, read
from faasd_py.core.errors import ConfigError, PluginError

if TYPE_CHECKING:
    from faasd_py.runtime.confine.unit import Unit


def run(options: argparse.Namespace) -> int:
    """OK and what can be confined here, or a sentence for each thing that is wrong."""
    path = find(options.config)
    config, wrong = examine(read(path))
    unit = _unit(path)
    if config is not None and not wrong:
        wrong = [*_plugins(config), *_functions(config, unit), *_files(config)]
    if wrong:
        raise Usage(*(f"{path}: {sentence}" for sentence in wrong))
    say("OK")
    if config is not None:
        _confinement(config, unit)
    return 0


def _unit(path: Path) -> Unit | None:
    """The unit whose daemon would read this file; None: whoever asks starts it."""
    from faasd_py.runtime.confine.unit import look

    return look() if str(path) == DEFAULT_PATH else None


def _confinement(config: Config, unit: Unit | None) -> None:
    """What of a function's bounds this machine can enforce, why not, and for whom that is said."""
    from faasd_py.runtime.confine.host import probe
    from faasd_py.runtime.confine.unit import NAME

    table(("CONFINEMENT", "HERE", "BY, OR WHY NOT"), list(probe(config.state.directory, unit).rows()))
    if unit is not None:
        say(f"For the daemon of {NAME}, which runs as {unit.user}.")
    else:
        say(f"For a daemon that {_myself()} starts; one of another user may be able to do more, or less.")


def _myself() -> str:
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"user {os.geteuid()}"


def _plugins(config: Config) -> Iterator[str]:
    from faasd_py import plugins

    try:
        loaded = plugins.load(config)
        loaded.queue(config)
        loaded.check_modes(config.functions)
        loaded.check_services(config.services)
        loaded.check_runtimes(config.runtimes)
    except PluginError as error:
        yield str(error)


def _functions(config: Config, unit: Unit | None) -> Iterator[str]:
    """Programs, directories, URLs and secrets; the same rules by which a function is opened."""
    from faasd_py import plugins
    from faasd_py.runtime.confine.host import probe
    from faasd_py.runtime.function import mode_of
    from faasd_py.runtime.problems import problems

    try:
        modes = {name: mode.open for name, mode in plugins.load(config).modes.items()}
    except PluginError:
        return
    secrets = Path(config.state.directory) / "secrets"
    host = probe(config.state.directory, unit)
    for name, function in config.functions.items():
        if mode_of(function) in modes:
            yield from problems(name, function, modes, secrets, host)
    yield from _deployed(config, modes)


def _deployed(config: Config, modes: Iterable[str]) -> Iterator[str]:
    """What was deployed over the REST API, and the templates that it needs."""
    from faasd_py.core.errors import BadRequest
    from faasd_py.deploy.deployments import Deployments
    from faasd_py.deploy.images import settings_of
    from faasd_py.runtime.wanted import reworded

    for one in Deployments(Path(config.state.directory) / "functions").look():
        if one.namespace == config.gateway.namespace and one.name in config.functions:
            continue
        try:
            settings_of(one.name, one.sent, config.images, list(modes))
        except BadRequest as error:
            yield reworded(str(error), one.name, one.label)


def _files(config: Config) -> Iterator[str]:
    if (tls := config.gateway.tls) is not None:
        unreadable = [*_readable("certificate", tls.certificate), *_readable("key", tls.key)]
        yield from unreadable or _usable(tls)
    from faasd_py.auth import keys
    from faasd_py.callback.secrets import load_secrets

    for look in (partial(load_secrets, config.callback.secrets), partial(keys.check, config.auth)):
        try:
            look()
        except ConfigError as error:
            yield str(error)


def _readable(key: str, path: str) -> Iterator[str]:
    try:
        with Path(path).open("rb"):
            return
    except OSError as error:
        yield f"gateway.tls.{key}: {path} cannot be read: {error.strerror}"


def _usable(tls: TlsSettings) -> Iterator[str]:
    from faasd_py.daemon.certificate import open_certificate

    try:
        open_certificate(tls)
    except ConfigError as error:
        yield str(error)
