"""The queue on NATS Streaming: the life cycle of a call, and an honest no to what STAN cannot do."""

from __future__ import annotations

from collections.abc import Sequence

import trio

from faasd_py.api import (
    Call,
    Capabilities,
    Filter,
    Outcome,
    QueueUnavailable,
    Record,
    State,
)
from faasd_py_nats_streaming.parts import Parts
from faasd_py_nats_streaming.putting import Putting
from faasd_py_nats_streaming.work import Work
from faasd_py_natsclient import NatsError


class StanQueue:
    """Keeps `faasd_py.api.Queue`."""

    def __init__(self, parts: Parts, capabilities: Capabilities, putting: Putting, work: Work) -> None:
        self._parts = parts
        self._capabilities = capabilities
        self._work = work
        self.put = putting.put
        self.next_lane = parts.counters.lanes.next_lane
        self.leave = parts.counters.lanes.leave
        self.wait_ready = parts.counters.lanes.wait_ready
        self.lease_nowait = work.lease_nowait
        self.start = work.start
        self.settle = work.settle
        self.stats = parts.counters.stats

    @property
    def capabilities(self) -> Capabilities:
        """See `faasd_py.api.Queue`."""
        return self._capabilities

    async def flush(self) -> None:
        """See `faasd_py.api.Queue`: what was settled is published, acknowledged, and on our disk.

        Raises:
            QueueUnavailable: it cannot be now.
        """
        parts, limit = self._parts, self._parts.options.put_timeout
        try:
            with trio.fail_after(limit):
                await self._work.closed()
            await parts.session.nats.flush(limit)
            await trio.to_thread.run_sync(parts.journal.sync)
        except trio.TooSlowError:
            why = parts.session.trouble() or f"the server did not confirm within {limit:g} s"
            raise QueueUnavailable(f"what was settled is not safe yet: {why}") from None
        except (NatsError, OSError) as error:
            raise QueueUnavailable(f"what was settled is not safe yet: {error}") from None

    def trouble(self) -> str | None:
        """See `faasd_py.api.Queue`."""
        parts = self._parts
        return parts.session.trouble() or next(iter(parts.danger.values()), None) or parts.damage or None

    # what STAN has no way to do: the daemon answers 501 by the capabilities, and never asks

    async def cancel(self, call: str) -> State | None:  # noqa: ARG002
        """Nothing is known of any call."""
        await trio.lowlevel.checkpoint()
        return None

    async def requeue(self, call: str) -> State | None:
        """As `cancel`."""
        return await self.cancel(call)

    async def forget(self, call: str) -> State | None:
        """As `cancel`."""
        return await self.cancel(call)

    async def find(self, call: str) -> Record | None:  # noqa: ARG002
        """As `cancel`."""
        await trio.lowlevel.checkpoint()
        return None

    async def records(self, which: Filter, limit: int = 100) -> Sequence[Record]:  # noqa: ARG002
        """As `cancel`."""
        await trio.lowlevel.checkpoint()
        return ()

    async def request(self, call: str) -> Call | None:  # noqa: ARG002
        """As `cancel`."""
        await trio.lowlevel.checkpoint()
        return None

    async def result(self, call: str) -> Outcome | None:  # noqa: ARG002
        """As `cancel`."""
        await trio.lowlevel.checkpoint()
        return None

    async def requeue_all(self, which: Filter, limit: int = 1000) -> int:  # noqa: ARG002
        """As `cancel`."""
        await trio.lowlevel.checkpoint()
        return 0

    async def purge(self, which: Filter, limit: int = 1000) -> int:
        """As `cancel`."""
        return await self.requeue_all(which, limit)
