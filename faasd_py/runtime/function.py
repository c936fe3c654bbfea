"""One function as the gateway and the workers see it."""

from __future__ import annotations

from typing import Final

import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import FunctionUnavailable
from faasd_py.observe.meter import Meter
from faasd_py.runtime.contract import Invocation, Replicas, Reply, Runtime
from faasd_py.runtime.wanted import DEPLOYED, Wanted, reworded

_TEXT: Final = b"Content-Type: text/plain; charset=utf-8\r\n"
KILLED: Final = (408, _TEXT + b"X-OpenFaaS-Internal: classic-watchdog\r\n", b"Killed process.\n")
TIMED_OUT: Final = (504, _TEXT + b"X-OpenFaaS-Internal: of-watchdog\r\n", b"exec_timeout exceeded\n")
"""Each mode's answer when exec_timeout has passed: the watchdogs' own (OpenFaaS wire contract §5.2, §5.3)."""


class Function:
    """A name, its settings, and the runtime that serves it now.

    `inflight` are the synchronous calls that run, counted by the gateway; `timeout_answer` is status, headers and body
    for one that took too long. `trouble` says why it cannot be called at present, None when it can. `origin` is `config`
    or `deployed`, `deployment` is as it was sent (None for a function of config.toml's), `created_at` is in seconds
    since 1970, `scaled` is how many replicas somebody asked for, None when nobody did.
    """

    __slots__ = (
        "created_at", "deployment", "inflight", "label", "meter", "mode", "name", "namespace", "origin", "runtime",
        "scaled", "settings", "timeout_answer", "trouble",
    )  # fmt: skip

    def __init__(self, wanted: Wanted, meter: Meter, opened: trio.Event) -> None:
        self.name = wanted.name
        self.namespace = wanted.namespace
        self.label = wanted.label
        self.mode = mode_of(wanted.settings)
        self.settings = wanted.settings
        self.origin = wanted.origin
        self.deployment = wanted.deployment
        self.created_at = wanted.created_at
        self.scaled = wanted.replicas
        self.runtime: Runtime = Opening(self, opened)
        self.meter = meter
        self.inflight = 0
        self.trouble: str | None = None
        self.timeout_answer = KILLED if self.mode == "fork" else TIMED_OUT

    def __repr__(self) -> str:
        return f"<Function {self.label} {self.mode}{f': {self.trouble}' if self.trouble else ''}>"

    def scale(self) -> None:
        """Tell the runtime how many replicas are asked for, if it can be told."""
        told = getattr(self.runtime, "scale", None)
        if self.scaled is not None and told is not None:
            told(self.scaled)

    def expect(self, replicas: int) -> None:
        """Tell the runtime that it takes over the work of so many replicas, if it can be told."""
        told = getattr(self.runtime, "expect", None)
        if replicas and told is not None:
            told(replicas)

    def said(self, sentence: str) -> str:
        """A runtime's sentence, which begins with a key of config.toml: a deployed function has no place there."""
        return reworded(sentence, self.name, self.label) if self.origin == DEPLOYED else sentence


class Unavailable:
    """The runtime of a function that cannot be opened: every call fails with the reason."""

    def __init__(self, reason: str) -> None:
        self.reason = reason

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:  # noqa: ARG002 - Runtime's shape
        """Raises FunctionUnavailable."""
        raise FunctionUnavailable(self.reason)

    def replicas(self) -> Replicas:
        """One is wanted, none is there."""
        return Replicas(wanted=1, available=0)


class Opening:
    """The runtime of a function that is being opened: calls wait for it."""

    def __init__(self, function: Function, opened: trio.Event) -> None:
        self._function = function
        self._opened = opened

    async def invoke(self, invocation: Invocation, reply: Reply) -> None:
        """Wait, then as the runtime that was opened."""
        await self._opened.wait()
        await self._function.runtime.invoke(invocation, reply)

    def replicas(self) -> Replicas:
        """One is wanted, none is there yet."""
        return Replicas(wanted=1, available=0)


def mode_of(settings: FunctionSettings) -> str:
    """The mode: as given, else what follows from `url` or `image`, else `fork`."""
    if settings.mode is not None:
        return settings.mode
    return "url" if settings.url is not None else "image" if settings.image is not None else "fork"
