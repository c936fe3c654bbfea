"""The queue backend "jetstream": several daemons share the calls of one NATS JetStream cluster."""

from __future__ import annotations

from typing import Final

from faasd_py.api import RegisterQueue, hookimpl
from faasd_py_jetstream.queue import CAPABILITIES, open_queue

api_version: Final = 1

__all__ = ["CAPABILITIES", "api_version", "faasd_py_register_queues", "open_queue"]


@hookimpl
def faasd_py_register_queues(register: RegisterQueue) -> None:
    """Offer "jetstream"."""
    register("jetstream", open_queue, CAPABILITIES)
