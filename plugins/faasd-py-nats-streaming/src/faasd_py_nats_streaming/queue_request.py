"""Pure. The JSON that an OpenFaaS gateway queues and its queue-worker reads (wire contract §2.2), both ways.

What OpenFaaS has no key for travels in header fields: the caller's options that a worker of ours honours, and our own
id of the call. A worker of OpenFaaS passes them to the function like any other field.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from faasd_py.api import Call, parse_duration
from faasd_py_nats_streaming import go_url
from faasd_py_nats_streaming.envelope import Envelope, Unreadable
from faasd_py_nats_streaming.identity import ID, foreign

CALL_ID: Final = "X-Call-Id"
START_TIME: Final = "X-Start-Time"
QUEUE_ID: Final = "X-Queue-Id"
CALLBACK_URL: Final = "X-Callback-Url"
FAILURE_URL: Final = "X-Callback-Failure-Url"
MAX_ATTEMPTS: Final = "X-Max-Attempts"
TIMEOUT: Final = "X-Timeout"
ON_CRASH: Final = "X-On-Crash"
_OURS: Final = frozenset(name.lower() for name in (
    CALL_ID, START_TIME, QUEUE_ID, FAILURE_URL, MAX_ATTEMPTS, TIMEOUT, ON_CRASH, "X-Delay", "X-Not-Before", "X-Max-Age",
    "X-Priority", "Idempotency-Key",
))  # fmt: skip
_FRAMING: Final = frozenset((
    "host", "content-length", "connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
    "upgrade", "expect",
))  # fmt: skip
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_FUNCTION: Final = re.compile(r"[-a-zA-Z_0-9.]+")
_BAD_TARGET: Final = re.compile(r"[\x00-\x20\x7f#]")
MAX_CALL_ID: Final = 255


class QueueRequest(msgspec.Struct, omit_defaults=True, kw_only=True):
    """The message. Keys are Go's; what is empty is left out where Go leaves it out."""

    Header: dict[str, list[str]] | None = None
    Host: str = ""
    Body: str | None = None
    Method: str | None = None
    Path: str = ""
    QueryString: str = ""
    Function: str | None = None
    QueueName: str = ""
    Annotations: dict[str, str] | None = None
    Labels: dict[str, str] | None = None
    Environment: dict[str, str] | None = None
    CallbackUrl: dict[str, Any] | None = None


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(QueueRequest)


def encode(identity: str, call: Call, namespace: str) -> bytes:
    """The message of a call to a function; its body must be in memory. `namespace` is the one that goes unsaid."""
    assert isinstance(call.body, bytes)  # noqa: S101 - the caller's part
    target = text(call.target)
    path, _, query = target.partition("?")
    request = QueueRequest(
        Header=_headers(identity, call),
        Host=text(call.host),
        Body=base64.b64encode(call.body).decode() if call.body else None,
        Method="POST",
        Path="" if path == "/" else path,
        QueryString=query,
        Function=call.lane.removesuffix(f".{namespace}"),
        CallbackUrl=go_url.parse(call.callback_url) if call.callback_url else None,
    )
    return _encoder.encode(request)


def _headers(identity: str, call: Call) -> dict[str, list[str]]:
    headers: dict[str, list[str]] = {}
    for name, value in _lines(call.headers):
        headers.setdefault(name, []).append(value)
    headers[CALL_ID] = [call.call_id or identity]
    headers[START_TIME] = [str(int(call.accepted_at * 1e9))]
    headers[QUEUE_ID] = [identity]
    extra = {
        FAILURE_URL: call.failure_url,
        MAX_ATTEMPTS: call.max_attempts,
        TIMEOUT: None if call.timeout is None else f"{call.timeout:.9f}".rstrip("0").rstrip(".") + "s",
        ON_CRASH: None if call.on_crash else "false",
    }
    headers.update((name, [str(value)]) for name, value in extra.items() if value is not None)
    if call.callback_url:
        headers[CALLBACK_URL] = [call.callback_url]
    return headers


def _lines(block: bytes) -> Iterable[tuple[str, str]]:
    for line in text(block).split("\r\n"):
        name, colon, value = line.partition(":")
        if colon and _NAME.fullmatch(name):
            yield canonical(name), value.strip()


def text(value: bytes) -> str:
    """JSON knows only Unicode: bytes that are no UTF-8 count as ISO 8859-1."""
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        return value.decode("latin-1")


def canonical(name: str) -> str:
    """As Go writes a field's name: `X-Call-Id`."""
    return "-".join(part[:1].upper() + part[1:].lower() for part in name.split("-"))


def decode(data: bytes, channel: str, sequence: int, timestamp: int, namespace: str) -> Envelope:
    """The call of a message, whoever sent it. `timestamp` is when the broker stored it, in ns since 1970.

    Raises:
        Unreadable: it is no such message, or none that could be run.
    """
    try:
        request = _decoder.decode(data)
        body = base64.b64decode(request.Body or "", validate=True)
    except (msgspec.DecodeError, ValueError) as error:
        raise Unreadable(f"it is no OpenFaaS queue request: {error}") from None
    fields = _first_values(request.Header or {})
    identity = fields.get(QUEUE_ID.lower(), "")
    if not ID.fullmatch(identity):
        identity = foreign(channel, sequence, timestamp)
    call = Call(
        lane=_lane(request.Function or "", namespace),
        target=_target(request),
        host=_one_line(request.Host).encode("utf-8"),
        headers=_block(request.Header or {}),
        body=body,
        call_id=_call_id(fields, identity),
        accepted_at=_accepted(fields, timestamp),
        max_attempts=_number(fields.get(MAX_ATTEMPTS.lower())),
        timeout=_seconds(fields.get(TIMEOUT.lower())),
        on_crash=fields.get(ON_CRASH.lower()) != "false",
        callback_url=_callback(request),
        failure_url=fields.get(FAILURE_URL.lower()) or None,
    )
    return Envelope(id=identity, call=call)


def _first_values(headers: Mapping[str, list[str]]) -> dict[str, str]:
    return {name.lower(): values[0] for name, values in headers.items() if values}


def _lane(function: str, namespace: str) -> str:
    """`NAME.NAMESPACE`, split at the last dot (wire contract §1.0)."""
    if not _FUNCTION.fullmatch(function) or function.strip(".") != function:
        raise Unreadable(f"it names no function: {function[:80]!r}")
    return function if "." in function else f"{function}.{namespace}"


def _target(request: QueueRequest) -> bytes:
    path = request.Path or "/"
    target = path if path.startswith("/") else f"/{path}"
    if request.QueryString:
        target += f"?{request.QueryString}"
    return _BAD_TARGET.sub(lambda odd: f"%{ord(odd[0]):02X}", target).encode("utf-8", "replace")


def _block(headers: Mapping[str, list[str]]) -> bytes:
    """Header lines. A name or value that would not be one field on the wire is left out."""
    lines = [
        f"{name}: {value}\r\n"
        for name, values in headers.items()
        if _NAME.fullmatch(name) and name.lower() not in _OURS and name.lower() not in _FRAMING
        for value in values
        if not re.search(r"[\r\n\0]", value)
    ]
    return "".join(lines).encode("utf-8", "replace")


def _one_line(value: str) -> str:
    return "" if re.search(r"[\s\0]", value) else value


def _call_id(fields: Mapping[str, str], identity: str) -> str | None:
    value = fields.get(CALL_ID.lower(), "")
    good = 0 < len(value) <= MAX_CALL_ID and value.isascii() and value.isprintable()
    return value if good and value != identity else None


def _accepted(fields: Mapping[str, str], timestamp: int) -> float:
    value = fields.get(START_TIME.lower(), "")
    return (int(value) if value.isascii() and value.isdigit() and len(value) < 20 else timestamp) / 1e9


def _number(value: str | None) -> int | None:
    return (
        int(value)
        if value and value.isascii() and value.isdigit() and 0 < len(value) < 7 and int(value)
        else None
    )


def _seconds(value: str | None) -> float | None:
    try:
        return float(parse_duration(value)) or None if value else None
    except ValueError:
        return None


def _callback(request: QueueRequest) -> str | None:
    return go_url.unparse(request.CallbackUrl) or None if request.CallbackUrl else None
