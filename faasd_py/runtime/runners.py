"""The runners: a spawn helper for each confined function, there while the function has programs that may be started."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from faasd_py.core.errors import FunctionUnavailable
from faasd_py.runtime.confine.bounds import Bounds
from faasd_py.runtime.confine.cgroup import Group
from faasd_py.runtime.confine.confiner import Confiner
from faasd_py.runtime.helper import Helper
from faasd_py.runtime.pump import Pump
from faasd_py.runtime.session import parent
from faasd_py.runtime.sessions import Sessions

OnKilled = Callable[[Bounds, int], None]
_GONE_WITHIN: Final = 6.0


class Runners:
    """By the key of their bounds. A runner starts with its function's first process."""

    def __init__(
        self,
        confiner: Confiner,
        pump: Pump,
        null: int,
        nursery: trio.Nursery,
        sessions: Sessions,
        tell: OnKilled,
    ) -> None:
        self._confiner = confiner
        self._pump = pump
        self._null = null
        self._nursery = nursery
        self._sessions = sessions
        self._tell = tell
        self._helpers: dict[str, Helper] = {}
        self._programs: Counter[str] = Counter()

    @property
    def helpers(self) -> list[Helper]:
        """Those that run."""
        return list(self._helpers.values())

    def hold(self, bounds: Bounds) -> None:
        """One more program of this function may be started."""
        self._programs[bounds.key] += 1

    def pick(self, bounds: Bounds) -> Helper:
        """The function's runner.

        Raises:
            FunctionUnavailable: it cannot be started.
        """
        helper = self._helpers.get(bounds.key)
        if helper is None:
            helper = self._helpers[bounds.key] = self._start(bounds)
        return helper

    def _start(self, bounds: Bounds) -> Helper:
        group: Group | None = None
        try:
            group = self._confiner.group(bounds)
            return Helper(
                self._pump,
                self._null,
                self._lost,
                self._sessions,
                spec=bounds.spec(group.path if group else None),
                group=group,
                on_killed=lambda pid: self._tell(bounds, pid),
                memory=bounds.memory,
            )
        except OSError as error:
            if group is not None:
                group.remove_now()
            raise FunctionUnavailable(f"it cannot be confined: {error.strerror}: {error.filename}") from error

    def _lost(self, helper: Helper) -> None:
        for key, other in list(self._helpers.items()):
            if other is helper:
                del self._helpers[key]
        self._nursery.start_soon(helper.aclose)

    def confines(self, pid: int) -> bool:
        """Whether a runner has started this process, or one above it; or whether nobody can tell any more."""
        subtree = self._confiner.subtree
        if subtree is not None:
            return subtree.holds(pid)
        runners = {helper.pid for helper in self.helpers}
        while pid > 1 and pid not in runners:
            above = parent(pid)
            if above is None:
                return True
            pid = above
        return pid in runners

    async def release(self, bounds: Bounds) -> None:
        """One program less; with the last one the runner ends."""
        self._programs[bounds.key] -= 1
        if self._programs[bounds.key] > 0:
            return
        del self._programs[bounds.key]
        helper = self._helpers.pop(bounds.key, None)
        if helper is not None:
            with suppress(FunctionUnavailable):
                await helper.aclose()

    def take_all(self) -> list[Helper]:
        """Every runner, for its end."""
        found = self.helpers
        self._helpers.clear()
        return found
