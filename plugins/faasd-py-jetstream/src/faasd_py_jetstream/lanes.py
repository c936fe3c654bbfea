"""All lanes: who serves which, who is woken when a call comes, and the consumers behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import trio

from faasd_py.api import QueueUnavailable
from faasd_py_jetstream.context import Context
from faasd_py_jetstream.entry import Entry, Phase
from faasd_py_jetstream.lane import Lane
from faasd_py_jetstream.names import token, turned
from faasd_py_jetstream.source import Listener, Source

LANE: Final = "faasd-lane"
"""The consumer's metadata that say whose it is."""
PRIORITY: Final = "faasd-priority"


class Lanes:
    """Lanes by name. `made` is called when this daemon made a consumer that others may not know."""

    def __init__(self, context: Context, listener: Listener, made: Callable[[], None]) -> None:
        self._context = context
        self._listener = listener
        self._made = made
        self._unserved: dict[str, None] = {}
        self._seekers = trio.lowlevel.ParkingLot()
        self.named: dict[str, Lane] = {}

    def get(self, name: str) -> Lane:
        """The lane of this name."""
        lane = self.named.get(name)
        if lane is None:
            lane = self.named[name] = Lane(name, self._context.options.prefetch)
        return lane

    def sources(self) -> Iterator[Source]:
        """All there are."""
        for lane in self.named.values():
            yield from lane.sources.values()

    # serving

    async def next_lane(self) -> str:
        """Wait for a lane with calls at hand that nobody serves; the caller serves it now."""
        while True:
            while self._unserved:
                name = next(iter(self._unserved))
                del self._unserved[name]
                lane = self.named.get(name)
                if lane is not None and lane.count and not lane.served:
                    lane.served = True
                    return name
            await self._seekers.park()

    def leave(self, name: str) -> None:
        """Nobody here serves the lane now."""
        lane = self.named.get(name)
        if lane is not None and lane.served:
            lane.served = False
            lane.hungry = bool(lane.lot)
            self.announce(lane)
            self.wake(lane)
            lane.fill(trio.current_time())

    def announce(self, lane: Lane) -> None:
        """The lane may have calls at hand that nobody will take."""
        if lane.count and not lane.served and lane.name not in self._unserved:
            self._unserved[lane.name] = None
            self._seekers.unpark()

    def arrived(self, entry: Entry) -> None:
        """An entry is at hand: put it in its place and wake one who waits for it."""
        lane = entry.lane
        lane.push(entry)
        if lane.lot:
            lane.lot.unpark()
        elif not lane.served:
            self.announce(lane)

    def wake(self, lane: Lane) -> None:
        """Wake as many as there are calls at hand."""
        if lane.lot and lane.count:
            lane.lot.unpark(count=lane.count)

    async def wait_ready(self, name: str) -> None:
        """Wait until a call is at hand."""
        lane = self.get(name)
        while not lane.ripe(trio.current_time()):
            lane.starve(trio.current_time())
            await lane.lot.park()
            lane = self.get(name)

    def take(self, name: str) -> Entry | None:
        """Hand out the first entry at hand; whoever still waits for the others is woken."""
        lane = self.named.get(name)
        if lane is None:
            return None
        now = trio.current_time()
        entry = lane.pop(now)
        if entry is None:
            lane.starve(now)
            return None
        entry.phase = Phase.HELD
        lane.taken(now)
        if lane.count and lane.lot:
            lane.lot.unpark()
        return entry

    # consumers

    def source(self, name: str, priority: str) -> Source:
        """The source, which may not be usable yet."""
        lane = self.get(name)
        source = lane.sources.get(priority)
        if source is None:
            consumer = f"{token(name)}_{priority}"
            context = self._context
            source = lane.sources[priority] = Source(
                context.client,
                f"{context.api.root}.CONSUMER.MSG.NEXT.{context.names.calls}.{consumer}",
                lane=name,
                priority=priority,
                consumer=consumer,
                listener=self._listener,
            )
        return source

    async def usable(self, name: str, priority: int) -> Source:
        """The source with its consumer there.

        Raises:
            QueueUnavailable: it cannot be made now.
        """
        source = self.source(name, turned(priority))
        while not source.usable:
            if source.ready is not None:
                await source.ready.wait()
            else:
                await self._make(source)
        return source

    async def _make(self, source: Source) -> None:
        """Make the consumer; whoever comes meanwhile waits for us, and tries itself if we fail."""
        event = source.ready = trio.Event()
        done = False
        try:
            await self._context.api.ensure_consumer(self._context.names.calls, self._config(source))
            done = True
        finally:
            if not done:
                source.ready = None
            event.set()
        source.busy_at = trio.current_time()
        self.get(source.lane).fill(source.busy_at)
        self._made()

    def _config(self, source: Source) -> Mapping[str, Any]:
        names, options = self._context.names, self._context.options
        return {
            "name": source.consumer,
            "durable_name": source.consumer,
            "filter_subject": f"{names.root}.call.{token(source.lane)}.{source.priority}.>",
            "ack_policy": "explicit",
            "ack_wait": int(options.ack_wait * 1e9),
            "max_deliver": -1,
            "max_ack_pending": -1,
            "deliver_policy": "all",
            "metadata": {LANE: source.lane, PRIORITY: source.priority},
        }

    def discovered(self, config: Mapping[str, Any]) -> Source | None:
        """A consumer that is there: some daemon made it. None: it is not of this kind."""
        metadata = config.get("metadata") or {}
        name, priority = metadata.get(LANE), metadata.get(PRIORITY)
        if name is None or priority is None:
            return None
        source = self.source(name, priority)
        if source.ready is None:
            source.ready = trio.Event()
            source.ready.set()
            source.busy_at = trio.current_time()
            self.get(name).fill(source.busy_at)
        return source

    async def remake(self, source: Source) -> None:
        """The consumer was deleted, perhaps for idleness: make it again if calls wait for it, else forget it."""
        context = self._context
        try:
            subject = f"{context.names.root}.call.{token(source.lane)}.{source.priority}.>"
            found = await context.api.last(context.names.calls, subject)
            if found is not None and source.ready is None:
                await self._make(source)
            elif found is None and source.ready is None and not source.unacked:
                self.forget(source)
        except QueueUnavailable:
            return

    def forget(self, source: Source) -> None:
        """Its consumer was deleted for idleness."""
        lane = self.named.get(source.lane)
        if lane is not None and lane.sources.get(source.priority) is source:
            del lane.sources[source.priority]
            if not lane.sources and lane.idle():
                del self.named[lane.name]
        source.close()
