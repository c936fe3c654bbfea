"""Pure. What came of an attempt, and what is to be done about it."""

from __future__ import annotations

import msgspec

from faasd_py.core.call import Body
from faasd_py.core.lifecycle import Move


class Outcome(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a function, or the platform in its place, answered.

    Stores keep it as an array: a new field goes to the end and has a default.

    `headers` are end-to-end header lines ending in CRLF, without framing fields. `internal` names the part of the
    platform that made the answer (`X-OpenFaaS-Internal`); None when it is the function's own. `size` is the whole
    answer's length in bytes, also when `body` was cut short and `complete` is false.
    """

    status: int
    headers: bytes = b""
    body: Body = b""
    size: int = 0
    complete: bool = True
    internal: str | None = None
    started_at: float = 0.0
    duration: float = 0.0


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a leased call: one of the moves out of LEASED.

    `reason` is a word for DEAD (`attempts`, `expired`, `interrupted`, `refused`, …) and for the record of a retry.
    `wait` is in seconds, for RETRY.
    """

    move: Move
    reason: str = ""
    wait: float = 0.0


DONE = Verdict(move=Move.DONE)
RELEASE = Verdict(move=Move.RELEASE)
CRASHED = Verdict(move=Move.RELEASE, reason="crashed")
"""A RELEASE because the holder died, on another machine say: if the attempt had started, the next lease says so."""
CANCEL = Verdict(move=Move.CANCEL, reason="cancelled")


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a call's history."""

    number: int
    started_at: float
    duration: float
    status: int
    reason: str = ""
