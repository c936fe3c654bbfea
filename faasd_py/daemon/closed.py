"""What of the daemon's no confined function may see: its state, its sockets, its keys."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from faasd_py.config import Config


def closed_to_functions(config: Config, environment: Mapping[str, str]) -> list[Path]:
    """Files and directories, as absolute paths; those of the configuration at the start."""
    gateway, callback = config.gateway, config.callback
    paths = [config.state.directory, config.state.runtime_directory, *callback.secrets]
    if gateway.tls is not None:
        paths.append(gateway.tls.key)
    if credentials := environment.get("CREDENTIALS_DIRECTORY"):
        paths.append(credentials)
    return [Path(path).absolute() for path in paths]
