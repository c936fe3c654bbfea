"""Pure. Every kind of event, with the facts that it tells besides `event` and `time`: docs/plugins.md explains them.

No event has a body, a header field, a path or a query of a call: what callers send is theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

_CALL: Final = ("id", "call_id", "function")
_ATTEMPT: Final = (*_CALL, "attempt", "status", "duration", "reason")
_DELIVERY: Final = ("id", "origin", "function", "attempt", "status", "reason")

KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "call.put": _CALL,
    "call.started": (*_CALL, "attempt"),
    "call.retry": _ATTEMPT,
    "call.released": _ATTEMPT,
    "call.done": _ATTEMPT,
    "call.dead": _ATTEMPT,
    "call.cancelled": _ATTEMPT,
    "call.requeued": _CALL,
    "calls.requeued": ("function", "count"),
    "calls.purged": ("function", "state", "count"),
    "callback.delivered": _DELIVERY,
    "callback.retry": _DELIVERY,
    "callback.dead": _DELIVERY,
    "function.deployed": ("function", "image"),
    "function.updated": ("function", "image"),
    "function.refused": ("function", "image", "update", "reason"),
    "function.removed": ("function",),
    "function.ready": ("function", "instance"),
    "function.crashed": ("function", "instance", "reason"),
    "function.unhealthy": ("function", "instance", "reason"),
    "function.scaled": ("function", "replicas"),
    "function.out_of_memory": ("function", "pid", "limit"),
    "lane.paused": ("function",),
    "lane.resumed": ("function",),
    "config.reloaded": ("functions",),
    "config.refused": ("reason",),
    "daemon.stopping": (),
}
