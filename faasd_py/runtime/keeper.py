"""One function's runtime, kept open: a task that opens it, opens it again after a failure, and drains it at the end."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Final

import trio

from faasd_py.config import FunctionSettings
from faasd_py.core.errors import FaasdError
from faasd_py.runtime.contract import Runtime
from faasd_py.runtime.function import Function, Unavailable

log: Final = logging.getLogger("faasd_py.runtime")
_FIRST_WAIT: Final = 1.0
_LONGEST_WAIT: Final = 60.0
_POLL: Final = 0.02
_STOPPED: Final = "the function is being stopped"
_HOPELESS: Final = 3
"""Starts that failed one after the other."""


class Keeper:
    """Keeps `function.runtime` open from `run` until `close`.

    `opened` is set after the first try, whether it succeeded or not; `function.trouble` tells. `after` is the one that
    must be closed before, because it holds a port that this one needs. `before` is the function in whose place this one is to
    come; nobody's until it has.
    """

    def __init__(
        self,
        function: Function,
        settings: FunctionSettings,
        directory: Path,
        open_runtime: Callable[[], AbstractAsyncContextManager[Runtime]],
        opened: trio.Event,
        after: Keeper | None = None,
        refused: str = "",
        before: Function | None = None,
    ) -> None:
        self.function = function
        self.settings = settings
        """What it was opened with; the function's own may have moved on where the runtime does not look."""
        self.opened = opened
        self.closed = trio.Event()
        self.after = after
        self.before = before
        self.refused = refused
        """Why it is never opened; empty when it is."""
        self._directory = directory
        self._open = open_runtime
        self._closing = trio.Event()
        self._opening = trio.CancelScope()

    def close(self) -> None:
        """No new calls come: let running ones finish, then stop it; an opening that is under way is broken off."""
        self._closing.set()
        self._opening.cancel()

    async def run(self) -> None:
        """Returns when the runtime is closed."""
        wait = _FIRST_WAIT
        try:
            if self.after is not None:
                await self.after.closed.wait()
                self.after = None
            while not self._closing.is_set():
                if await self._hold():
                    wait = _FIRST_WAIT
                with trio.move_on_after(wait):
                    await self._closing.wait()
                wait = min(wait * 2, _LONGEST_WAIT)
        finally:
            if not self.opened.is_set():
                self._failed(_STOPPED)
            with trio.CancelScope(shield=True):
                await trio.to_thread.run_sync(partial(shutil.rmtree, self._directory, ignore_errors=True))
            self.closed.set()

    async def _hold(self) -> bool:
        """Open it and hold it open until it is to be closed, or fails; whether it opened."""
        opened = False
        self._opening = trio.CancelScope()
        try:
            if not self._directory.is_dir():  # made in a thread: the disk may be busy with somebody's fsync
                await trio.to_thread.run_sync(partial(os.makedirs, self._directory, 0o700, exist_ok=True))
            with self._opening:
                async with self._open() as runtime:
                    self._opening = trio.CancelScope()  # from here on it is drained, not broken off
                    opened = True
                    self._serve(runtime)
                    await self._closing.wait()
        except FaasdError as error:
            self._failed(str(error))
            log.error("%s cannot be called: %s", self.function.label, self.function.trouble)  # noqa: TRY400 - a sentence says it all
        except Exception as error:  # a plug-in's failure is its function's, not the daemon's
            self._failed(f"{type(error).__name__}: {error}")
            log.exception("%s cannot be called", self.function.label)
        return opened

    def _serve(self, runtime: Runtime) -> None:
        function = self.function
        function.runtime, function.trouble = runtime, None
        function.scale()
        if self.before is not None:
            function.expect(_available(self.before))
        self.opened.set()

    def _failed(self, reason: str) -> None:
        reason = self.function.said(reason)
        self.function.runtime = Unavailable(reason)
        self.function.trouble = reason
        self.opened.set()

    async def settled(self, *, answering: bool) -> bool:
        """Whether it is open, and answers if `answering`, or is in trouble.

        It is waited for until as many of its replicas answer as of those that they replace, or for start_timeout. False when
        none does then, or when its starts failed several times one after the other.
        """
        function = self.function
        with trio.move_on_after(self.settings.start_timeout):
            await self.opened.wait()
            while answering and function.trouble is None and not self._replaces():
                if function.runtime.replicas().failures >= _HOPELESS:
                    return False
                await trio.sleep(_POLL)
            return True
        return answering and function.trouble is None and _available(function) > 0

    def _replaces(self) -> bool:
        """Nobody who calls it notices that it is new."""
        wanted = self.function.runtime.replicas().wanted
        replaced = _available(self.before) if self.before is not None else 0
        return _available(self.function) >= min(wanted, max(1, replaced))


def _available(function: Function) -> int:
    return function.runtime.replicas().available
