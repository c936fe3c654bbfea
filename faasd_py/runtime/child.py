"""What is started, and what came of it: values between the machinery and the helpers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import trio

from faasd_py.runtime import spawner
from faasd_py.runtime.confine.bounds import Bounds

if TYPE_CHECKING:
    from faasd_py.runtime.helper import Helper


class Program:
    """What is started again and again: told to the helper once. `bounds`: only the runner that has them starts it."""

    __slots__ = ("bounds", "definition", "number")

    def __init__(
        self,
        number: int,
        path: str,
        argv: Sequence[str],
        environment: Mapping[bytes, bytes],
        directory: str,
        open_files: int,
        bounds: Bounds | None = None,
    ) -> None:
        self.number = number
        self.bounds = bounds
        self.definition: spawner.Definition = (
            os.fsencode(path),
            [os.fsencode(word) for word in argv],
            dict(environment),
            os.fsencode(directory),
            open_files,
        )


class Child:
    """A process group that the helper started.

    `pid` is 0 until the helper said it; `status` is the wait status of its first process, None while that runs;
    `failure` says why it could not start, or was lost; `cause` is what it was killed for, if that is known (`memory
    limit of 64MiB`). `gone`: no process of it is left. `on_end` is called when the
    first process ended, or failed to start; `on_running` when it has run for some milliseconds.
    """

    __slots__ = (
        "cause", "failure", "gone", "helper", "ident", "on_end", "on_running", "pid", "status", "too_long", "vanished",
    )  # fmt: skip

    def __init__(self, ident: int, on_running: Callable[[], None], on_end: Callable[[], None]) -> None:
        self.helper: Helper | None = None
        self.ident = ident
        self.on_running = on_running
        self.on_end = on_end
        self.pid = 0
        self.status: int | None = None
        self.failure = ""
        self.cause = ""
        self.too_long = False
        self.gone = False
        self.vanished: trio.Event | None = None

    @property
    def over(self) -> bool:
        """Its first process has ended, or never was."""
        return self.gone or self.status is not None

    def end(self) -> None:
        """Nothing of it is left."""
        self.gone = True
        if self.vanished is not None:
            self.vanished.set()

    def __repr__(self) -> str:
        state = self.failure or ("running" if self.status is None else f"status {self.status}")
        return f"<Child {self.ident} pid={self.pid} {state}{' gone' if self.gone else ''}>"
