"""What a gateway is told about who asks: $FAASD_PY_TOKEN, else what `login` (ours or faas-cli's) has kept for it."""

from __future__ import annotations

import ipaddress
import os
import re
import sys
from typing import Final
from urllib.parse import urlsplit

from faasd_py.cli import logins
from faasd_py.cli.errors import Usage

VARIABLE: Final = "FAASD_PY_TOKEN"
_WORD: Final = re.compile(r"[\x21-\x7e]+")


def authorization(url: str) -> str | None:
    """The value of the Authorization field for a gateway; None when nothing is known. Warns where it would go in clear.

    Raises:
        Usage: what was given cannot be sent. Never says what it was.
        Failed: the file cannot be read.
    """
    value = _known(url)
    if value is not None and goes_in_clear(url):
        warn(f"{url} is http: whoever is on the way can read the credentials")
    return value


def goes_in_clear(url: str) -> bool:
    """Whether others than this box may read along."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def warn(sentence: str) -> None:
    """A line on stderr."""
    sys.stderr.write(f"faasd-py: warning: {sentence}\n")


def _known(url: str) -> str | None:
    if token := os.environ.get(VARIABLE, "").strip():
        return f"Bearer {_sendable(token, f'${VARIABLE}')}"
    login = logins.find(url)
    if login is None:
        return None
    scheme = "Basic" if login.kind == logins.BASIC else "Bearer"
    return f"{scheme} {_sendable(login.token, str(logins.path()))}"


def _sendable(token: str, place: str) -> str:
    if not _WORD.fullmatch(token):
        raise Usage(f"{place}: expected a token of visible ASCII characters without blanks")
    return token


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
