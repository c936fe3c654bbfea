"""Answers of the watchdog itself to requests that no process can be started for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from faasd_py.runtime import sniff
from faasd_py.runtime.contract import Reply

_TEXT: Final = b"Content-Type: %s\r\n" % sniff.TEXT


async def not_allowed(reply: Reply, methods: Iterable[bytes]) -> None:
    """405, empty as the classic watchdog's, with the methods that are allowed (RFC 9110 §15.5.6)."""
    await reply.answer(405, b"Allow: %s\r\n" % b", ".join(sorted(methods)), b"")


async def unspeakable(reply: Reply, reason: str) -> None:
    """400: no environment can hold the request."""
    await reply.answer(400, _TEXT, reason.encode() + b"\n")


async def too_long(reply: Reply) -> None:
    """431: the system's limit for arguments and environment (execve(2), E2BIG) is exceeded (RFC 6585 §5)."""
    await reply.answer(431, _TEXT, b"the headers are too large for the environment of a process\n")
