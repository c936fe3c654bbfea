"""The daemon's queue as it is lent to the services of plug-ins: they give its calls to others, and a pause holds for them too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from faasd_py.core.call import Lease
from faasd_py.core.errors import QueueUnavailable
from faasd_py.queue.contract import Queue, start_many
from faasd_py.worker.paused import Paused


class LentQueue:
    """Keeps `queue.contract.Queue`, as the queue behind it does: nothing of a paused lane is given out, or begins.

    What is given out already and was not started when its lane is paused cannot be started either: whoever holds it
    hands it back.
    """

    def __init__(self, queue: Queue, paused: Paused) -> None:
        self._queue = queue
        self._paused = paused

    def __getattr__(self, name: str) -> Any:
        """Everything else is the queue's own."""
        return getattr(self._queue, name)

    async def wait_ready(self, lane: str) -> None:
        """See `queue.contract.Queue.wait_ready`."""
        while True:
            await self._paused.wait_resumed(lane)
            await self._queue.wait_ready(lane)
            if lane not in self._paused:
                return

    def lease_nowait(self, lane: str) -> Lease | None:
        """See `queue.contract.Queue.lease_nowait`."""
        return None if lane in self._paused else self._queue.lease_nowait(lane)

    async def start(self, lease: Lease) -> None:
        """See `queue.contract.Queue.start`."""
        if (refusal := self._refusal(lease)) is not None:
            raise refusal
        await self._queue.start(lease)

    async def start_many(self, leases: Sequence[Lease]) -> list[Exception | None]:
        """See `queue.contract.start_many`."""
        refusals = [self._refusal(lease) for lease in leases]
        going = [lease for lease, refusal in zip(leases, refusals, strict=True) if refusal is None]
        started = iter(await start_many(self._queue, going))
        return [next(started) if refusal is None else refusal for refusal in refusals]

    def _refusal(self, lease: Lease) -> QueueUnavailable | None:
        lane = lease.call.lane
        return QueueUnavailable(f"lane {lane} is paused") if lane in self._paused else None
