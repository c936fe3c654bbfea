"""Pure. Every error the daemon raises, sorted by whose fault it is.

FaasdError
├─ CallerError             the request was wrong: a 4xx with one sentence
│  ├─ BadOption            an option header cannot be read, or asks for what the backend lacks  400
│  ├─ BadRequest           what was sent to the control plane is not usable                   400
│  ├─ NotFound             what it names is not there                                         404
│  ├─ Conflict             it cannot be done as things stand                                  409
│  ├─ BodyTooLarge         the body is over max_body                                          413
│  ├─ IdempotencyConflict  the same Idempotency-Key came with another body                    422
│  └─ TooManyRequests      over the function's or the caller's rate or max_inflight           429
├─ FunctionError           the function could not answer
│  ├─ FunctionUnavailable  it is not there, not up, or broke off                              502
│  └─ FunctionTimeout      it did not answer within exec_timeout                              504 (fork: 408)
├─ QueueError              the queue cannot take or give calls now                            503
│  ├─ QueueFull            max_depth or max_bytes is reached
│  ├─ QueueUnavailable     the disk is full, fsync failed, the broker is away, or draining
│  └─ QueueBroken          the store cannot be opened: damaged beyond repair, or too new
├─ StoreFailed             the disk would not keep what was to be deployed                    500
├─ IllegalMove             a bug: a call was moved against the table in core/lifecycle.py
└─ BootError               the daemon cannot start: names the file, the table and the key
   ├─ ConfigError          config.toml is wrong
   └─ PluginError          a plug-in is missing, misspelt, broken or raising
"""

from __future__ import annotations


class FaasdError(Exception):
    """The root; its text is one sentence for a person."""


class CallerError(FaasdError):
    """The request was wrong; `status` is the answer."""

    status = 400

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class BadOption(CallerError):
    """A header of the call cannot be honoured; the text names the header."""


class BadRequest(CallerError):
    """What was sent to the control plane is not usable."""


class NotFound(CallerError):
    """There is nothing of that name."""

    status = 404


class Conflict(CallerError):
    """It cannot be done as things stand."""

    status = 409


class BodyTooLarge(CallerError):
    """The body is over the limit."""

    status = 413


class IdempotencyConflict(CallerError):
    """The same Idempotency-Key was used with a different body."""

    status = 422


class TooManyRequests(CallerError):
    """Over a rate or a concurrency limit."""

    status = 429


class FunctionError(FaasdError):
    """The function could not answer; `status` is the answer in its place."""

    status = 502


class FunctionUnavailable(FunctionError):
    """The function is not there, not up, or broke off before it answered."""


class FunctionTimeout(FunctionError):
    """The function did not answer within exec_timeout."""

    status = 504


class QueueError(FaasdError):
    """The queue cannot take or give calls now; `retry_after` is in seconds."""

    status = 503

    def __init__(self, message: str, *, retry_after: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFull(QueueError):
    """max_depth or max_bytes is reached."""


class QueueUnavailable(QueueError):
    """The store or broker cannot promise safety now."""


class QueueBroken(QueueError):
    """The store cannot be opened."""


class StoreFailed(FaasdError):
    """The disk would not keep what was to be deployed; nothing has changed. `status` is the answer."""

    status = 500


class IllegalMove(FaasdError):
    """A call was moved against the table."""


class BootError(FaasdError):
    """The daemon cannot start."""


class ConfigError(BootError):
    """config.toml is wrong: file, table and key are in the text."""


class PluginError(BootError):
    """A plug-in cannot be used: its name is in the text."""
