"""Pure. What is to be done after an attempt, or instead of one (semantics: "Life of a call"; wire contract §2.5).

before the attempt   expired                                     BURY expired
                     a crash cut the last one, on_crash = false  BURY interrupted
                     more attempts were begun than allowed       BURY attempts
after it             status < 400                                DONE
                     X-No-Retry: 1                               BURY refused
                     status not in codes, and the function's own DONE
                     attempts used up                            BURY attempts
                     the wait would end after expires_at         BURY expired
                     else                                        RETRY, after Retry-After or the back-off

a delivery           2xx                                         DONE
                     the guard refused it                        BURY refused
                     410                                         BURY gone
                     attempts used up                            BURY callback
                     else                                        RETRY, by the schedule
"""

from __future__ import annotations

from collections.abc import Sequence
from email.utils import parsedate_to_datetime
from typing import Final

from faasd_py.callback.messenger import GUARD
from faasd_py.core.call import Call, Lease
from faasd_py.core.lifecycle import Move
from faasd_py.core.outcome import DONE, Outcome, Verdict
from faasd_py.core.retry import RetryPolicy, backoff, honoured
from faasd_py.http import fields

EXPIRED: Final = "expired"
INTERRUPTED: Final = "interrupted"
ATTEMPTS: Final = "attempts"
REFUSED: Final = "refused"
GONE: Final = "gone"
CALLBACK: Final = "callback"

STATUSES: Final = {EXPIRED: 504, INTERRUPTED: 503, ATTEMPTS: 503}
"""What a callback says as X-Function-Status when the call was buried without an answer."""
JITTER: Final = 0.1
"""A delivery's wait is its schedule's, more or less by up to this part."""


def forbid(policy: RetryPolicy, lease: Lease, now: float) -> Verdict | None:
    """Why the attempt must not begin; None when it may. `now` is in seconds since 1970."""
    call = lease.call
    if call.expires_at is not None and now >= call.expires_at:
        return _bury(EXPIRED)
    if lease.crashed and not (call.on_crash and policy.on_crash):
        return _bury(INTERRUPTED)
    if lease.attempt > attempts(policy, call):
        return _bury(ATTEMPTS)
    return None


def attempts(policy: RetryPolicy, call: Call) -> int:
    """How many attempts the call has, the first included."""
    return policy.attempts if call.max_attempts is None else min(policy.attempts, call.max_attempts)


def judge(
    policy: RetryPolicy, call: Call, attempt: int, outcome: Outcome, now: float, roll: float
) -> Verdict:
    """What becomes of a call after attempt number `attempt`; `roll` is a random number in [0, 1)."""
    status = outcome.status
    if status < 400:
        return DONE
    if fields.get(outcome.headers, b"x-no-retry") == b"1":
        return _bury(REFUSED)
    if status not in policy.codes and outcome.internal is None:
        return DONE
    if attempt >= attempts(policy, call):
        return _bury(ATTEMPTS)
    wait = _wait(policy, attempt, outcome, now, roll)
    if call.expires_at is not None and now + wait >= call.expires_at:
        return _bury(EXPIRED)
    return Verdict(move=Move.RETRY, reason=f"status {status}", wait=wait)


def judge_delivery(
    schedule: Sequence[float], attempt: int, outcome: Outcome, now: float, roll: float
) -> Verdict:
    """What becomes of a callback after attempt number `attempt`; the schedule's waits are in seconds."""
    status = outcome.status
    if 200 <= status < 300 and outcome.internal is None:
        return DONE
    if outcome.internal == GUARD:
        return _bury(REFUSED)
    if status == 410 and outcome.internal is None:
        return _bury(GONE)
    if attempt > len(schedule):
        return _bury(CALLBACK)
    wait = schedule[attempt - 1] * (1 - JITTER + 2 * JITTER * roll)
    asked = retry_after(outcome, now)
    if asked is not None:
        wait = max(wait, min(asked, max(schedule)))
    return Verdict(move=Move.RETRY, reason=f"status {status}", wait=wait)


def retry_after(outcome: Outcome, now: float) -> float | None:
    """Seconds that the answer asks us to wait (RFC 9110 §10.2.3), of a 429 or 503; None when it does not say."""
    if outcome.status not in {429, 503}:
        return None
    value = fields.get(outcome.headers, b"retry-after")
    if value is None:
        return None
    if value.isdigit():
        return float(value[:12])
    try:
        moment = parsedate_to_datetime(value.decode("ascii"))
        return max(0.0, moment.timestamp() - now) if moment.tzinfo else None
    except (ValueError, TypeError, OverflowError):
        return None


def _wait(policy: RetryPolicy, attempt: int, outcome: Outcome, now: float, roll: float) -> float:
    """Retry-After when there is one, raised to min_wait as OpenFaaS does; else exponential with jitter."""
    asked = retry_after(outcome, now)
    if asked is None:
        return backoff(policy, attempt, roll)
    return honoured(policy, max(asked, policy.min_wait))


def _bury(reason: str) -> Verdict:
    return Verdict(move=Move.BURY, reason=reason)
