"""`[runtimes.podman]`: read, checked, and explained when wrong."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from faasd_py.api import ConfigError, Size, convert_options

PLACE: Final = "runtimes.podman"
_CAPABILITY: Final = re.compile(r"(?:CAP_)?[A-Z][A-Z_]*")
_NETWORK: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*")
_SHARED: Final = frozenset({"host", "private", "bridge", "slirp4netns", "pasta", "container", "ns"})
"""Words of podman's that are not the name of a network, and would not do what a name does."""
Pull = Literal["missing", "always", "never"]


class FunctionOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[runtimes.podman.functions.NAME]`: what one function has instead of what all have."""

    network: str | None = None
    pull: Pull | None = None
    capabilities: list[str] | None = None


class Chosen(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for one function."""

    network: str
    pull: Pull
    capabilities: tuple[str, ...]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings, and their defaults."""

    socket: str | None = None
    """Where a podman service of somebody else's listens; None: one of our own is started."""
    command: list[str] = msgspec.field(default_factory=lambda: ["podman"])
    """Our own service's program, with podman's global options."""
    oci_runtime: str | None = None
    """Our own service's: `crun`, `runc`, …; None: podman's own choice."""
    network: str = "none"
    pull: Pull = "missing"
    auth_file: str | None = None
    """Credentials of registries, as `docker login` and `podman login` leave them."""
    insecure_registries: list[str] = msgspec.field(default_factory=list)
    """Registries without TLS, or whose certificate is not looked at: `HOST:PORT`."""
    capabilities: list[str] = msgspec.field(default_factory=list)
    tmp_size: Size = Size(64 << 20)
    """Of the /tmp of a function whose root is read-only."""
    functions: dict[str, FunctionOptions] = msgspec.field(default_factory=dict)

    def of(self, name: str, label: str) -> Chosen:
        """What function `name`, with the label NAME.NAMESPACE, is given: its own, or everybody's."""
        own = self.functions.get(label) or self.functions.get(name) or FunctionOptions()
        return Chosen(
            network=self.network if own.network is None else own.network,
            pull=own.pull or self.pull,
            capabilities=tuple(self.capabilities if own.capabilities is None else own.capabilities),
        )


def read_options(given: Mapping[str, Any]) -> Options:
    """The options.

    Raises:
        ConfigError: naming the key.
    """
    options = convert_options(given, Options, PLACE)
    if not options.command or not options.command[0].strip():
        raise ConfigError(f'{PLACE}.command: expected the program and its options, like ["podman"]')
    if options.socket is not None and not options.socket.startswith("/"):
        raise ConfigError(f"{PLACE}.socket: expected the absolute path of a socket, got {options.socket!r}")
    if options.socket is not None and options.oci_runtime is not None:
        raise ConfigError(f"{PLACE}.oci_runtime: the service at {options.socket} has chosen one already")
    _check(PLACE, options.network, options.capabilities)
    for name, own in options.functions.items():
        _check(f"{PLACE}.functions.{name}", own.network, own.capabilities)
    return options


def _check(place: str, network: str | None, capabilities: list[str] | None) -> None:
    if network is not None and (network in _SHARED or not _NETWORK.fullmatch(network)):
        raise ConfigError(
            f'{place}.network: expected "none" or the name of a network of podman, got {network!r}'
        )
    for index, capability in enumerate(capabilities or ()):
        if not _CAPABILITY.fullmatch(capability):
            raise ConfigError(
                f"{place}.capabilities[{index}]: expected a word like NET_BIND_SERVICE, got {capability!r}"
            )
