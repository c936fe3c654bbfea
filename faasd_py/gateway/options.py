"""Pure. What an asynchronous call asks for in its headers (semantics: "Asynchronous"), checked and turned into times."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import msgspec

from faasd_py.config import FunctionSettings
from faasd_py.core.durations import Duration, parse_duration
from faasd_py.core.errors import BadOption
from faasd_py.queue.contract import Capabilities

CALLBACK: Final = b"x-callback-url"
FAILURE: Final = b"x-callback-failure-url"
NAMES: Final = (
    b"x-callback-failure-url", b"x-delay", b"x-not-before", b"x-max-age", b"x-max-attempts", b"x-priority", b"x-timeout",
    b"idempotency-key",
)  # fmt: skip
"""The option headers that the function does not see."""

_ANY: Final = frozenset({CALLBACK, *NAMES})
MAX_WAIT: Final = 366 * 86400.0
_KEY: Final = re.compile(rb"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?")


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """The options of one call; times are seconds since 1970, durations seconds."""

    not_before: float | None = None
    expires_at: float | None = None
    max_attempts: int | None = None
    priority: int = 0
    timeout: float | None = None
    idempotency_key: str | None = None
    callback_url: str | None = None
    failure_url: str | None = None


NONE: Final = Options()


def read(fields: Mapping[bytes, bytes], function: FunctionSettings, now: float) -> Options:
    """The options among the header fields (lower-case name to value).

    Raises:
        BadOption: one sentence naming the header.
    """
    if _ANY.isdisjoint(fields):
        return NONE
    max_age = _duration(fields, b"x-max-age")
    timeout = _duration(fields, b"x-timeout")
    return Options(
        not_before=_not_before(fields, now),
        expires_at=None if max_age is None else now + max_age,
        max_attempts=_attempts(fields, function.retry.attempts),
        priority=_integer(fields, b"x-priority", -10, 10) or 0,
        timeout=_shorter(timeout, function.exec_timeout),
        idempotency_key=_key(fields),
        callback_url=_text(fields, CALLBACK),
        failure_url=_text(fields, FAILURE),
    )


def check(options: Options, able: Capabilities) -> None:
    """The backend can do what the options ask.

    Raises:
        BadOption: naming the header that this queue cannot honour.
    """
    if options is NONE:
        return
    for asked, can, header in (
        (options.not_before is not None, able.delay, "X-Delay and X-Not-Before"),
        (options.expires_at is not None, able.expiry, "X-Max-Age"),
        (options.priority != 0, able.priority, "X-Priority"),
        (options.idempotency_key is not None, able.dedup, "Idempotency-Key"),
    ):
        if asked and not can:
            raise BadOption(f"{header}: this queue cannot do that")


def _duration(fields: Mapping[bytes, bytes], name: bytes) -> Duration | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        duration = parse_duration(value.decode("latin-1").strip())
    except ValueError as error:
        raise BadOption(f"{_title(name)}: {error}") from None
    if duration > MAX_WAIT:
        raise BadOption(f"{_title(name)}: at most {Duration(MAX_WAIT)}, got {value.decode('latin-1')}")
    return duration


def _not_before(fields: Mapping[bytes, bytes], now: float) -> float | None:
    delay = _duration(fields, b"x-delay")
    value = fields.get(b"x-not-before")
    if delay is not None and value is not None:
        raise BadOption("X-Delay: cannot be combined with X-Not-Before")
    if delay is not None:
        return now + delay if delay else None
    return None if value is None else _moment(value.decode("latin-1").strip(), now)


def _moment(text: str, now: float) -> float:
    """RFC 3339 §5.6, with a zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or len(text) < len("2026-01-01T00:00:00Z"):
        raise BadOption(
            f"X-Not-Before: expected a time like 2026-12-24T18:00:00Z (RFC 3339), got {text[:40]!r}"
        )
    seconds = moment.astimezone(UTC).timestamp()
    if seconds > now + MAX_WAIT:
        raise BadOption(f"X-Not-Before: at most {Duration(MAX_WAIT)} ahead, got {text[:40]!r}")
    return seconds


def _integer(fields: Mapping[bytes, bytes], name: bytes, least: int, most: int) -> int | None:
    value = fields.get(name)
    if value is None:
        return None
    if re.fullmatch(rb"[+-]?\d{1,6}", value) and least <= (number := int(value)) <= most:
        return number
    raise BadOption(f"{_title(name)}: expected a whole number from {least} to {most}, got {_shown(value)}")


def _attempts(fields: Mapping[bytes, bytes], limit: int) -> int | None:
    number = _integer(fields, b"x-max-attempts", 1, 999_999)
    return None if number is None else min(number, limit)


def _shorter(timeout: float | None, limit: float) -> float | None:
    """X-Timeout shortens exec_timeout and never lengthens it; 0 means nothing, as in OpenFaaS."""
    if not timeout:
        return None
    return float(min(timeout, limit) if limit else timeout)


def _key(fields: Mapping[bytes, bytes]) -> str | None:
    value = fields.get(b"idempotency-key")
    if value is None:
        return None
    if not _KEY.fullmatch(value):
        raise BadOption("Idempotency-Key: expected 1 to 255 printable ASCII characters")
    return value.decode("ascii")


def _text(fields: Mapping[bytes, bytes], name: bytes) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    try:
        return value.decode("ascii")
    except UnicodeDecodeError:
        raise BadOption(f"{_title(name)}: expected an ASCII URL") from None


def _title(name: bytes) -> str:
    return name.decode("ascii").title()


def _shown(value: bytes) -> str:
    return repr(value[:40].decode("latin-1"))
