"""An operation on its way to the hub, and the answer."""

from __future__ import annotations

import math
from collections.abc import Callable

import msgspec
import trio

from faasd_py.api import BadOption, IdempotencyConflict, QueueFull, QueueUnavailable
from faasd_py_nng.wire import Answer, Failed, Op


class Pending(msgspec.Struct, eq=False):
    """`sent`: the hub may have heard it. `slow`: it goes in a message of its own."""

    op: Op
    size: int
    slow: bool = False
    ordered: bool = False
    sent: bool = False
    withdrawn: bool = False
    deadline: float = math.inf
    then: Callable[[Answer], None] | None = None
    """Called with the answer; for who does not wait."""
    done: trio.Event = msgspec.field(default_factory=trio.Event)
    answer: Answer | None = None
    document: bytes = b""

    def resolve(self, answer: Answer) -> None:
        """Whoever waits goes on."""
        self.answer = answer
        self.done.set()
        if self.then is not None:
            self.then(answer)


def error_of(failed: object) -> Exception:
    """What the hub's queue raised, raised here."""
    if not isinstance(failed, Failed):
        return QueueUnavailable("the hub did not confirm in time")
    if failed.kind == "QueueFull":
        return QueueFull(failed.text, retry_after=failed.retry_after or 5.0)
    if failed.kind == "IdempotencyConflict":
        return IdempotencyConflict(failed.text)
    if failed.kind == "BadOption":
        return BadOption(failed.text)
    return QueueUnavailable(failed.text, retry_after=failed.retry_after or 5.0)
