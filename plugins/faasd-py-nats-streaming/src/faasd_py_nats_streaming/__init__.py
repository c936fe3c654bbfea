"""faasd-py's queue on NATS Streaming (STAN), alone or beside OpenFaaS: `[queue] backend = "nats-streaming"`."""

from typing import Final

from faasd_py.api import Capabilities, RegisterQueue, hookimpl
from faasd_py_nats_streaming.formats import Native
from faasd_py_nats_streaming.opening import open_queue
from faasd_py_nats_streaming.queue import StanQueue

__all__ = ["CAPABILITIES", "StanQueue", "api_version", "faasd_py_register_queues", "open_queue"]

api_version: Final = 1
CAPABILITIES: Final[Capabilities] = Native().capabilities(1024 * 1024)
"""In the native form, at a server with the usual max_payload; an open queue says what it can itself."""


@hookimpl
def faasd_py_register_queues(register: RegisterQueue) -> None:
    """Offer "nats-streaming"."""
    register("nats-streaming", open_queue, CAPABILITIES)
