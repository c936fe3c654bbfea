"""Looking after the queue: signs of life for what is held, calls nobody takes, lost requests, the broker's figures."""

from __future__ import annotations

from typing import Any, Final

import trio

from faasd_py.api import QueueBroken, QueueUnavailable
from faasd_py_jetstream.api import NOT_FOUND, ApiError
from faasd_py_jetstream.context import Context, log, prepare
from faasd_py_jetstream.delivery import NAK, WORKING
from faasd_py_jetstream.entry import Entry, Phase
from faasd_py_jetstream.figures import Figures
from faasd_py_jetstream.lane import Lane
from faasd_py_jetstream.lanes import Lanes
from faasd_py_jetstream.names import HIGHEST, QUARANTINE, store, token, untoken
from faasd_py_jetstream.recovery import Recovery
from faasd_py_jetstream.rows import lane_of, size_of
from faasd_py_jetstream.settle import Settler
from faasd_py_jetstream.source import Source
from faasd_py_natsclient import NatsError

HERE: Final = frozenset({Phase.AT_HAND, Phase.COMING})
TICK: Final = 0.5
QUIET: Final = 0.25
"""Seconds without a change after which the broker's figures are taken as they are."""
LONGEST: Final = 5.0
"""Seconds after which they are taken all the same."""
LOST: Final = 1.0
"""Seconds after which a call that should come is asked for again."""
BESIDE: Final = 260
"""Bytes that a call takes at the broker beside what it counts here, about."""
FEW: Final = 256
LIGHT: Final = 1 << 20
"""So many calls, of so many bytes together, are weighed one by one."""
MANY: Final = 10_000
"""Subjects in a list for which the next look waits ten times as long."""


class Watch:
    """Two tasks: `sweep` and `poll`."""

    def __init__(
        self,
        context: Context,
        lanes: Lanes,
        settler: Settler,
        figures: Figures,
        recovery: Recovery,
        nursery: trio.Nursery,
    ) -> None:
        self._context = context
        self._lanes = lanes
        self._settler = settler
        self._figures = figures
        self._recovery = recovery
        self._nursery = nursery
        self._now = trio.Event()
        self._applied_at = -1e9
        self._lists: dict[str, tuple[tuple[int, int], dict[str, int]]] = {}

    def look(self) -> None:
        """Poll at once: something changed at the broker."""
        self._now.set()

    # what is held

    async def sweep(self) -> None:
        """Until cancelled."""
        every = self._context.options.ack_wait / 3
        alive_at = trio.current_time()
        while True:
            await trio.sleep(min(TICK, every))
            now = trio.current_time()
            if now - alive_at >= every:
                alive_at = now
                self._show_life()
            self._recovery.note(list(self._lanes.sources()))
            for lane in list(self._lanes.named.values()):
                self.give_back(lane.stale(now))
                for source in lane.sources.values():
                    self._find_lost(source, now, waiting=lane.ready > lane.count)
                lane.fill(now)
                self._lanes.wake(lane)

    def _show_life(self) -> None:
        """Nobody else is to be given what we hold."""
        try:
            for source in self._lanes.sources():
                for entry in source.unacked.values():
                    self._context.client.publish(entry.reply, WORKING)
        except NatsError:
            return

    def give_back(self, entries: list[Entry]) -> None:
        """They are for others now. In order, the first last: what is given back last comes first."""
        for entry in entries:
            self._settler.let_go(entry)
            entry.source.remember(entry, self._settler.past_of(entry))
            self._settler.say(entry.reply, NAK)

    def _find_lost(self, source: Source, now: float, *, waiting: bool) -> None:
        silent = now - max(source.asked_at, source.came_at) > LOST
        if source.overdue(now) or (waiting and silent and not source.at_hand):
            source.lost()

    # what the broker says

    async def poll(self) -> None:
        """Until cancelled."""
        while True:
            with trio.move_on_after(self._pause()):
                await self._now.wait()
            self._now = trio.Event()
            try:
                await self._look()
            except QueueUnavailable as error:
                log.debug("no figures: %s", error)
            except QueueBroken as error:
                log.error("the streams are not as they must be: %s", error)
            else:
                self._context.publisher.trouble = None

    async def _look(self) -> None:
        """Look; streams that are gone, as those in memory are when their server ends, are made again."""
        try:
            await self.look_once()
        except ApiError as error:
            if error.fault.code != NOT_FOUND:
                raise
            log.warning("the streams are gone, and are made again")
            for source in self._lanes.sources():
                source.renew()
            await prepare(self._context)

    def _pause(self) -> float:
        interval = float(self._context.options.poll_interval)
        return interval * 10 if any(len(found) > MANY for _, found in self._lists.values()) else interval

    async def look_once(self) -> None:
        """Learn of other daemons' lanes, and correct the figures.

        Raises:
            QueueUnavailable: the broker is away.
        """
        names, api = self._context.names, self._context.api
        began = trio.current_time()
        state = (await api.ask(f"STREAM.INFO.{names.calls}"))["state"]
        consumers = await api.consumers(names.calls)
        later = await self._list(names.calls, state, f"{names.root}.later.>")
        dead_state = (await api.ask(f"STREAM.INFO.{names.dead}"))["state"]
        dead = await self._list(names.dead, dead_state, f"{names.root}.dead.>")
        bodies = (await api.ask(f"STREAM.INFO.{store(names.bodies)}"))["state"]
        self._meet(consumers, began)
        await self._await_later(later)
        now = trio.current_time()
        quiet = began - self._figures.moved_at > QUIET
        if quiet or now - self._applied_at > LONGEST:
            self._applied_at = now
            self._apply(consumers, later, dead)
            await self._weigh(state, bodies)
        await self._remove_idle(consumers, later, now)

    async def _list(self, stream: str, state: dict[str, Any], pattern: str) -> dict[str, int]:
        """The subjects that match; not asked for again while the stream is as it was."""
        mark = (state["last_seq"], state["messages"])
        known = self._lists.get(pattern)
        if known is not None and known[0] == mark:
            return known[1]
        found = await self._context.api.subjects(stream, pattern) if state["messages"] else {}
        self._lists[pattern] = (mark, found)
        return found

    def _meet(self, consumers: list[dict[str, Any]], began: float) -> None:
        """Consumers that others made are used; ours that are gone are made again when they are needed."""
        there = set()
        for info in consumers:
            source = self._lanes.discovered(info["config"])
            if source is not None:
                there.add(source)
                if info["num_pending"] + info["num_ack_pending"]:
                    source.busy_at = trio.current_time()
        for source in self._lanes.sources():
            if source.usable and source not in there and source.busy_at < began:
                source.ready = None
            if source.ready is None:
                self._nursery.start_soon(self._lanes.remake, source)

    def _apply(self, consumers: list[dict[str, Any]], later: dict[str, int], dead: dict[str, int]) -> None:
        for lane in self._lanes.named.values():
            lane.ready = lane.delayed = lane.others = 0
            lane.dead = 0
        for info in consumers:
            self._apply_consumer(info)
        self._figures.quarantined = sum(subject.split(".")[3] == QUARANTINE for subject in dead)
        for subject in later:
            if (found := self._lane_of(subject)) is not None:
                found.delayed += 1
        for subject in dead:
            if (found := self._lane_of(subject)) is not None:
                found.dead += 1
        for lane in self._lanes.named.values():
            lane.leased = lane.mine + lane.others

    def _lane_of(self, subject: str) -> Lane | None:
        """The lane that a subject names; None for one too long to be named, unless it is known here."""
        escaped = subject.split(".")[3]
        if escaped == QUARANTINE:
            return None
        name = untoken(escaped)
        if name is None:
            name = next((known for known in self._lanes.named if token(known) == escaped), None)
        return None if name is None else self._lanes.get(name)

    async def _await_later(self, later: dict[str, int]) -> None:
        """Calls that are due later find somebody who waits for them, though their lane has been idle until then."""
        kinds = {tuple(subject.split(".")[3:5]): subject for subject in later}
        for (escaped, priority), subject in kinds.items():
            name = untoken(escaped)
            if name is None:
                message = await self._context.api.last(self._context.names.calls, subject)
                name = None if message is None else lane_of(message)
            if name is not None and not self._lanes.source(name, priority).usable:
                await self._lanes.usable(name, HIGHEST - int(priority))

    def _apply_consumer(self, info: dict[str, Any]) -> None:
        source = self._lanes.discovered(info["config"])
        if source is None:
            return
        lane = self._lanes.get(source.lane)
        now = self._context.clock()
        delayed = sum(1 for past in source.pasts.values() if past.due is not None and past.due > now)
        elsewhere = max(0, info["num_ack_pending"] - len(source.unacked) - delayed)
        coming = sum(1 for entry in source.unacked.values() if entry.phase in HERE)
        source.backlog = source.expected = info["num_pending"]
        lane.ready += info["num_pending"] + coming
        lane.delayed += delayed
        lane.others += elsewhere

    async def _weigh(self, state: dict[str, Any], bodies: dict[str, Any]) -> None:
        """Bytes are known exactly while all calls are ours, or few; else they are estimated."""
        figures = self._figures
        lanes = self._lanes.named.values()
        depth = sum(lane.ready + lane.leased + lane.delayed for lane in lanes)
        if depth == figures.depth:
            return
        figures.depth = depth
        if state["messages"] <= FEW and state["bytes"] <= LIGHT:
            figures.bytes = await self._weigh_each(state["messages"])
        else:
            each = state["bytes"] / max(1, state["messages"]) - BESIDE
            figures.bytes = int(max(1.0, each) * depth) + bodies["bytes"] if depth else 0

    async def _weigh_each(self, count: int) -> int:
        names, total = self._context.names, 0
        if not count:
            return 0
        for kind in ("call", "later"):
            pattern = f"{names.root}.{kind}.>"
            for message in await self._context.api.following(names.calls, pattern, 1, count):
                total += size_of(message)
        return total

    async def _remove_idle(self, consumers: list[dict[str, Any]], later: dict[str, int], now: float) -> None:
        """Consumers that had nothing to do for long; one that is needed after all is made again."""
        limit = float(self._context.options.idle_consumers)
        wanted = {"_".join(subject.split(".")[3:5]) for subject in later}
        for info in consumers:
            source = self._lanes.discovered(info["config"])
            busy = info["num_pending"] or info["num_ack_pending"] or info["name"] in wanted
            if source is None or busy or source.unacked:
                continue
            if now - max(source.busy_at, source.came_at) > limit:
                await self._context.api.ask(f"CONSUMER.DELETE.{self._context.names.calls}.{source.consumer}")
                self._lanes.forget(source)
