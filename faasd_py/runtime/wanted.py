"""Pure. A function as somebody wants it: config.toml, or a deployment over the REST API."""

from __future__ import annotations

from typing import Final

import msgspec

from faasd_py.config import FunctionSettings
from faasd_py.core.deployment import FunctionDeployment

CONFIG: Final = "config"
DEPLOYED: Final = "deployed"


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """`created_at` is in seconds since 1970; `replicas` is what it was scaled to, None when it never was.

    `trouble` says why it cannot be run as things stand: it is kept, and answers with the reason.
    """

    name: str
    namespace: str
    settings: FunctionSettings
    created_at: float
    deployment: FunctionDeployment | None = None
    """As it was sent; None for a function of config.toml's."""
    replicas: int | None = None
    trouble: str = ""

    @property
    def label(self) -> str:
        """NAME.NAMESPACE."""
        return f"{self.name}.{self.namespace}"

    @property
    def origin(self) -> str:
        """`config` or `deployed`."""
        return CONFIG if self.deployment is None else DEPLOYED


def reworded(sentence: str, name: str, label: str) -> str:
    """A sentence that begins with a function's place in config.toml, for one that is deployed and has none there."""
    place = f"functions.{name}"
    if not sentence.startswith((f"{place}.", f"{place}:")):
        return sentence
    return f"function {label}: {sentence.removeprefix(place).lstrip('.: ')}"
