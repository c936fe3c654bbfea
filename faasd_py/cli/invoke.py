"""`faasd-py invoke`: one call through the gateway; the answer goes to stdout as it comes."""

from __future__ import annotations

import argparse
import http.client
import re
import sys
from typing import IO, Final

import msgspec

from faasd_py.cli.body import open_body
from faasd_py.cli.credentials import authorization
from faasd_py.cli.errors import Failed, Usage
from faasd_py.cli.gateway import connect, locate
from faasd_py.cli.terminal import clean, say, say_json
from faasd_py.core import names

ASKED: Final = {
    "callback": "X-Callback-Url",
    "failure_callback": "X-Callback-Failure-Url",
    "delay": "X-Delay",
    "not_before": "X-Not-Before",
    "max_age": "X-Max-Age",
    "max_attempts": "X-Max-Attempts",
    "priority": "X-Priority",
    "timeout": "X-Timeout",
    "idempotency_key": "Idempotency-Key",
    "call_id": "X-Call-Id",
}
"""Which header each option becomes."""
_PIECE: Final = 64 * 1024
_TOKEN: Final = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_UNSAFE: Final = re.compile(r"[^\x21-\x7e]|[\"<>\\^`{|}#]")


class Request(msgspec.Struct, frozen=True):
    """What is sent, without its body."""

    method: str
    target: str
    headers: list[tuple[str, str]]
    asynchronous: bool


def run(options: argparse.Namespace) -> int:
    """Send the call, and print what comes back."""
    request = _request(options)
    with open_body(options.data, options.file) as body:
        url = locate(options.gateway, options.config)
        if options.auth:
            request.headers.extend(_credentials(url, request.headers))
        connection, prefix = connect(url, verify=not options.tls_no_verify)
        try:
            response = _send(connection, prefix, request, body)
            return _accepted(options, response) if request.asynchronous else _print(options, response)
        except http.client.HTTPException as error:
            raise Failed(f"{url} broke off the answer: {type(error).__name__}") from error
        except BrokenPipeError:
            raise
        except OSError as error:
            raise Failed(f"{url} broke off: {error.strerror or error}") from error
        finally:
            connection.close()


def _credentials(url: str, given: list[tuple[str, str]]) -> list[tuple[str, str]]:
    if any(name.lower() == "authorization" for name, _ in given):
        raise Usage("invoke: --auth sends an Authorization header, and one was given")
    said = authorization(url)
    if said is None:
        raise Failed(
            f"there are no credentials for {url}: faasd-py login --gateway {url}, or $FAASD_PY_TOKEN"
        )
    return [("Authorization", said)]


def _request(options: argparse.Namespace) -> Request:
    asked = [(header, value) for key, header in ASKED.items() if (value := getattr(options, key)) is not None]
    asynchronous = options.asynchronous or bool(asked)
    method = (options.method or "POST").upper()
    if not _TOKEN.fullmatch(method):
        raise Usage(f"invoke: expected an HTTP method, got {method!r}")
    headers = [*map(_header, options.header), *asked]
    for name, value in asked:
        _check_value(name, value)
    return Request(method, _target(options.name, options.query, asynchronous), headers, asynchronous)


def _target(name: str, query: list[str], asynchronous: bool) -> str:
    function, slash, path = name.partition("/")
    if not names.NAME.fullmatch(function):
        raise Usage(f"invoke: expected NAME or NAME.NAMESPACE, got {function!r}")
    target = f"/{'async-function' if asynchronous else 'function'}/{function}{slash}{_escape(path)}"
    if query:
        target += ("&" if "?" in path else "?") + "&".join(map(_escape, query))
    return target


def _escape(text: str) -> str:
    """Percent-encode what cannot stand in a target; what is encoded already, and separators, stay."""
    return _UNSAFE.sub(lambda match: "".join(f"%{byte:02X}" for byte in match[0].encode()), text)


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise Usage(f"invoke: expected a header like 'Name: value', got {line!r}")
    return name, _check_value(name, value.strip())


def _check_value(name: str, value: str) -> str:
    if not _VALUE.fullmatch(value):
        raise Usage(f"invoke: header {name} cannot have the value {value!r}")
    return value


def _send(
    connection: http.client.HTTPConnection, prefix: str, request: Request, body: IO[bytes] | bytes
) -> http.client.HTTPResponse:
    """Send it all; a gateway that answers before it has read the body (413) is heard all the same."""
    given = {name.lower() for name, _ in request.headers}
    connection.putrequest(request.method, prefix + request.target, "host" in given, skip_accept_encoding=True)
    for name, value in request.headers:
        connection.putheader(name, value.encode("latin-1"))
    try:
        if isinstance(body, bytes):
            if "content-length" not in given:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body or None)
        else:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders(iter(lambda: body.read1(_PIECE), b""), encode_chunked=True)  # type: ignore[attr-defined]
    except (BrokenPipeError, ConnectionResetError):
        try:
            return connection.getresponse()
        except (OSError, http.client.HTTPException):
            raise Failed("the gateway closed the connection before the body was sent") from None
    return connection.getresponse()


def _print(options: argparse.Namespace, response: http.client.HTTPResponse) -> int:
    out = sys.stdout.buffer
    if options.include:
        lines = [
            f"HTTP/1.1 {response.status} {response.reason}",
            *(f"{k}: {v}" for k, v in response.getheaders()),
            "",
            "",
        ]
        out.write("\r\n".join(lines).encode("latin-1", "replace"))
    while piece := response.read1(_PIECE):
        out.write(piece)
        out.flush()
    out.flush()
    if response.length:
        raise http.client.IncompleteRead(b"", response.length)
    if response.status >= 400:
        raise Failed(f"{options.name} answered {response.status} {response.reason}")
    return 0


def _accepted(options: argparse.Namespace, response: http.client.HTTPResponse) -> int:
    body = response.read().decode("utf-8", "replace").strip()
    if response.status != 202:
        said = f": {clean(body)}" if body else ""
        raise Failed(f"{options.name} was not accepted, {response.status} {response.reason}{said}")
    call, queued = response.headers.get("X-Call-Id", ""), response.headers.get("X-Queue-Id", "")
    if options.json:
        say_json({"call_id": call, "queue_id": queued})
    else:
        say(clean(call or queued))
    return 0
