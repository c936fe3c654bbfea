"""Pure. When a failed call is tried again (semantics: retries; OpenFaaS: `com.openfaas.retry.*`, wire contract §2.5)."""

from __future__ import annotations

import msgspec

from faasd_py.core.durations import Duration

DEFAULT_CODES: frozenset[int] = frozenset({408, 429, 500, 502, 503, 504})


class RetryPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often, for which answers and how far apart. Waits are seconds."""

    attempts: int = 10
    codes: frozenset[int] = DEFAULT_CODES
    min_wait: Duration = Duration(10)
    max_wait: Duration = Duration(120)
    max_retry_after: Duration | None = None
    """How long a `Retry-After` may make us wait; None: no longer than max_wait."""
    on_crash: bool = True


def backoff(policy: RetryPolicy, attempt: int, roll: float) -> float:
    """Seconds to wait after failed attempt number `attempt` (1 is the first): exponential with full jitter.

    `roll` is a random number in [0, 1): the wait lies between 0 and min(max_wait, min_wait * 2 ** (attempt - 1)).
    """
    ceiling = min(policy.max_wait, policy.min_wait * 2.0 ** min(attempt - 1, 32))
    return ceiling * roll


def honoured(policy: RetryPolicy, retry_after: float) -> float:
    """Seconds to wait when the function itself said `retry_after` seconds."""
    limit = policy.max_wait if policy.max_retry_after is None else policy.max_retry_after
    return max(0.0, min(retry_after, limit))
