"""Pure. What a function finds in its environment (OpenFaaS wire contract §5.2).

Each process gets a few basics of the daemon's environment and nothing more of it, the function's own `environment`,
and, forked for a request, that request as `Http_…` variables.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from faasd_py.runtime.contract import Invocation

BASICS: Final = ("HOME", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "PATH", "TMPDIR", "TZ")
DEFAULT_PATH: Final = "/usr/local/bin:/usr/bin:/bin"


class Unspeakable(Exception):
    """The request cannot be said in an environment; the text is the answer to a 400."""


def own(
    name: str, namespace: str, given: Mapping[str, str], secrets: str | None, daemon: Mapping[str, str]
) -> dict[bytes, bytes]:
    """What all processes of a function have: basics, OPENFAAS_NAME, SECRETS_DIR if it has secrets, then its own."""
    found = {"PATH": DEFAULT_PATH, "OPENFAAS_NAME": name, "OPENFAAS_NAMESPACE": namespace}
    found |= {key: daemon[key] for key in BASICS if daemon.get(key)}
    if secrets:
        found["SECRETS_DIR"] = secrets
    found |= given
    return {_encode(key): _encode(value) for key, value in found.items()}


def of_request(invocation: Invocation) -> dict[bytes, bytes]:
    """The request as `Http_…`: every header (the first of a name), then what is not a header.

    Raises:
        Unspeakable: the decoded path has a NUL byte, which no environment can hold.
    """
    found: dict[bytes, bytes] = {}
    for line in invocation.headers.split(b"\r\n"):
        name, colon, value = line.partition(b":")
        if colon:
            found.setdefault(variable(name), value.strip(b" \t"))
    path, _, query = invocation.target.partition(b"?")
    if b"%" in path:
        path = unquote_to_bytes(path)
        if b"\0" in path:
            raise Unspeakable("the path has a NUL byte, which no environment variable can hold")
    length = b"-1" if invocation.length is None else b"%d" % invocation.length
    found[b"Http_Method"] = invocation.method
    found[b"Http_Path"] = path
    found[b"Http_Content_Length"] = found[b"Http_ContentLength"] = length
    if invocation.length is None:
        found[b"Http_Transfer_Encoding"] = b"chunked"
    for name, value in ((b"Http_Query", query), (b"Http_Host", invocation.host)):
        found.pop(name, None)
        if value:
            found[name] = value
    return found


@lru_cache(1024)
def variable(name: bytes) -> bytes:
    """`x-call-id` is `Http_X_Call_Id`: each word begins with a capital, as Go's canonical headers do."""
    return b"Http_" + b"_".join(word.capitalize() for word in name.split(b"-"))


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
