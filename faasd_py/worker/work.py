"""What a lane's calls are: function calls (`calls.py`) or deliveries of callbacks (`deliveries.py`)."""

from __future__ import annotations

from typing import Protocol

from faasd_py.core.call import Lease
from faasd_py.core.outcome import Outcome, Verdict
from faasd_py.worker.run import Run


class Work(Protocol):
    """Everything that differs between the two; the rest is the same machinery."""

    @property
    def ordered(self) -> bool:
        """Strictly one after the other: a call that is to be tried again keeps its place."""
        ...

    def limit(self) -> int:
        """How many may run at once, at least 1."""
        ...

    def forbid(self, lease: Lease, now: float) -> Verdict | None:
        """Why the attempt must not begin."""
        ...

    async def attempt(self, run: Run) -> Outcome:
        """Make the attempt, which was started; raises only Cancelled."""
        ...

    def without_answer(self, run: Run, verdict: Verdict | None) -> Outcome:
        """What counts as the answer when there is none: the deadline passed (None), or the attempt was forbidden."""
        ...

    def judge(self, run: Run, outcome: Outcome, now: float) -> Verdict:
        """What becomes of the call."""
        ...

    async def settle(self, run: Run, verdict: Verdict, outcome: Outcome | None) -> None:
        """Tell the queue, and count."""
        ...
