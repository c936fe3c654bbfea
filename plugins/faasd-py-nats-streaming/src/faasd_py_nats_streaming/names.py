"""Pure. What things are called at the broker, by OpenFaaS' conventions where it has some.

SUBJECT           the calls                                        durable queue group GROUP
SUBJECT.later     what waits for its time                          durable queue group GROUP
SUBJECT.callbacks deliveries                                       durable queue group GROUP
SUBJECT.dead      dead letters, for whoever wants to read them     nobody's
SUBJECT.lanes     the names of the channels of single functions    read from its beginning
SUBJECT.FUNCTION  the calls of one function (subject_per_function) durable queue group GROUP
"""

from __future__ import annotations

import re
from typing import Final

CALLBACK: Final = "callback:"
CHANNEL: Final = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")
CLIENT: Final = re.compile(r"[A-Za-z0-9_-]{1,128}")
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")


def client_id(host: str) -> str:
    """The default client id of the daemon on this host: what the server would refuse becomes `_`."""
    return f"faasd-py-{_ODD.sub('_', host)}"[:128]


def durable(subject: str) -> str:
    """The durable name that OpenFaaS' queue-worker gives: the subject with `_` for `.`."""
    return subject.replace(".", "_")


def function_channel(subject: str, lane: str) -> str:
    """The channel of one function. Two functions may get the same: a message says whose it is."""
    return f"{subject}.{_ODD.sub('_', lane)[:150]}"


def is_function(lane: str) -> bool:
    """The lane is a function's, and not one of deliveries."""
    return not lane.startswith(CALLBACK)
