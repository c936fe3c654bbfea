"""One attempt while it runs: what it is about, and how it is stopped."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

import trio

from faasd_py.core.call import Lease
from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import CANCEL, Outcome, Verdict
from faasd_py.worker.collector import Collector

if TYPE_CHECKING:
    from faasd_py.runtime.function import Function

TIMEOUT: Final = Verdict(move=Move.RETRY, reason="timeout")
"""The cut of an attempt whose deadline passed; what becomes of the call is judged by its timeout answer."""


class Run:
    """A leased call in a worker's hands.

    `cut` says that it is to be stopped, and what becomes of the call: TIMEOUT, CANCEL or RELEASE. The attempt itself is
    cancelled only while it is `invoking`: never while the queue is told about it.
    """

    __slots__ = (
        "begun", "cut", "deadline", "epoch", "function", "invoking", "lease", "outcome", "reply", "scope", "started_at",
        "verdict",
    )  # fmt: skip

    def __init__(self, lease: Lease, scope: trio.CancelScope, epoch: int) -> None:
        self.lease = lease
        self.scope = scope
        self.epoch = epoch
        self.started_at = 0.0
        """Seconds since 1970; 0 before it is started."""
        self.begun = 0.0
        self.deadline = inf
        self.invoking = False
        self.cut: Verdict | None = None
        self.outcome: Outcome | None = None
        self.verdict: Verdict | None = None
        """Decided without an attempt."""
        self.function: Function | None = None
        self.reply: Collector | None = None

    def __repr__(self) -> str:
        return f"<Run {self.lease.id} of {self.lease.call.lane}, attempt {self.lease.attempt}>"

    def expire(self) -> None:
        """The deadline has passed."""
        self.interrupt(TIMEOUT)

    def interrupt(self, cut: Verdict) -> None:
        """Stop the attempt. The first cut counts, but somebody's CANCEL, which was promised, over all others."""
        if self.cut is None or cut is CANCEL:
            self.cut = cut
        if self.invoking:
            self.scope.cancel()
