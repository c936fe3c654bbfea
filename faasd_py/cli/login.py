"""`faasd-py login`: credentials for a gateway, asked of it and kept where faas-cli keeps its own."""

from __future__ import annotations

import argparse
import base64
import getpass
import http.client
import re
import sys
from typing import Final

from faasd_py.cli import logins
from faasd_py.cli.credentials import goes_in_clear, warn
from faasd_py.cli.errors import Failed, Usage
from faasd_py.cli.gateway import connect, locate
from faasd_py.cli.terminal import say

LONGEST: Final = 4096
"""Characters of the longest password or token."""


def run(options: argparse.Namespace) -> int:
    """Keep what the gateway accepts, and nothing else."""
    url = locate(options.gateway, options.config)
    login = _login(options, url)
    if goes_in_clear(url):
        warn(f"{url} is http: whoever is on the way can read the credentials")
    _try(url, login, verify=not options.tls_no_verify)
    say(f"credentials for {logins.normal(url)} are in {logins.keep(login)}")
    return 0


def _login(options: argparse.Namespace, url: str) -> logins.Login:
    secret = _secret("token" if options.token else "password", piped=options.password_stdin)
    if options.token:
        if not re.fullmatch(r"[\x21-\x7e]+", secret):
            raise Usage("login: expected a token of visible ASCII characters without blanks")
        return logins.Login(url, logins.BEARER, secret)
    if ":" in options.username:
        raise Usage("login: a user name with a colon cannot be sent")
    pair = base64.b64encode(f"{options.username}:{secret}".encode()).decode()
    return logins.Login(url, logins.BASIC, pair)


def _secret(what: str, *, piped: bool) -> str:
    """From stdin, or asked for at the terminal without showing it; white space around it does not count."""
    ask = getpass.getpass if not piped and sys.stdin.isatty() else _read
    text = ask(f"{what}: ")
    if len(text) > LONGEST or not text.strip():
        raise Usage(f"login: expected a {what} on stdin, of at most {LONGEST} characters")
    return text.strip()


def _read(_: str) -> str:
    return sys.stdin.read(LONGEST + 1)


def _try(url: str, login: logins.Login, *, verify: bool) -> None:
    """Ask the gateway as faas-cli does. That something is not allowed (403) or not there (404) is no matter here."""
    scheme = "Basic" if login.kind == logins.BASIC else "Bearer"
    connection, prefix = connect(url, verify=verify)
    try:
        connection.sock.settimeout(20)
        connection.request(
            "GET", f"{prefix}/system/functions", headers={"Authorization": f"{scheme} {login.token}"}
        )
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        raise Failed(f"{url} broke off: {error}") from None
    finally:
        connection.close()
    if status == 401:
        raise Failed(f"{url} does not accept these credentials")
    if status not in {200, 403, 404}:
        raise Failed(f"{url} answered {status}: is it a gateway?")
