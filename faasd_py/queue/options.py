"""`[queue.options]` of the built-in backends: there are none."""

from __future__ import annotations

from faasd_py.core.errors import ConfigError
from faasd_py.hookspecs import QueueSite


def refuse_options(site: QueueSite) -> None:
    """A built-in backend takes no options: a key there is a typing error, or meant for another backend.

    Raises:
        ConfigError: naming the first key.
    """
    for key in site.settings.options:
        raise ConfigError(f"queue.options.{key}: the backend {site.settings.backend!r} has no such option")
