"""Pure. A function as somebody wants it: config.toml, or a deployment over the REST API."""

from __future__ import annotations

import msgspec

from faasd_py.config import FunctionSettings
from faasd_py.core.deployment import FunctionDeployment

CONFIG = "config"
DEPLOYED = "deployed"


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
