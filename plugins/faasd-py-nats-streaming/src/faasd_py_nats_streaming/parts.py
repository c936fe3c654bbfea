"""What the parts of one open queue share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from faasd_py.api import QueueSettings
from faasd_py_nats_streaming import bodies
from faasd_py_nats_streaming.alarms import Alarms
from faasd_py_nats_streaming.bodies import Bodies
from faasd_py_nats_streaming.channels import Channels
from faasd_py_nats_streaming.counters import Counters
from faasd_py_nats_streaming.entry import Entry, Phase
from faasd_py_nats_streaming.formats import Format
from faasd_py_nats_streaming.held import Held
from faasd_py_nats_streaming.journal import Journal
from faasd_py_nats_streaming.publishing import Publishing
from faasd_py_nats_streaming.session import Session
from faasd_py_nats_streaming.settings import Options

log: Final = logging.getLogger("faasd_py_nats_streaming")


@dataclass(slots=True, kw_only=True)
class Parts:
    """`clock` is the wall clock, in seconds since 1970; `danger` is why a channel takes no more calls."""

    options: Options
    settings: QueueSettings
    session: Session
    channels: Channels
    journal: Journal
    counters: Counters
    publishing: Publishing
    format: Format
    shelf: Bodies
    clock: Callable[[], float]
    nursery: trio.Nursery
    alarms: Alarms[Entry] = field(default_factory=Alarms)
    alarm: trio.Event = field(default_factory=trio.Event)
    held: Held = field(default_factory=Held)
    danger: dict[str, str] = field(default_factory=dict)
    damage: str = ""

    def ready(self, entry: Entry) -> None:
        """The call may be given out now."""
        self.counters.lanes.arrived(entry)

    def delay(self, entry: Entry, due: float) -> None:
        """The call may be given out then; at once when that is past."""
        entry.due, entry.rank = due, int(due * 1e9)
        if due <= self.clock():
            self.ready(entry)
            return
        entry.phase = Phase.DELAYED
        entry.lane.delayed += 1
        if self.alarms.set(due, entry):
            self.alarm.set()

    def over(self, entry: Entry) -> None:
        """The call has left our hands for good: acknowledge it."""
        entry.phase = Phase.OVER
        try:
            self.journal.ended(entry.key)
        except OSError as error:
            log.warning("a lost ack now would run a call again: %s", error.strerror)
        if entry.intake.held.get(entry.sequence) is entry:
            del entry.intake.held[entry.sequence]
            entry.intake.channel.ack(entry.sequence)
        self.held.remove(entry)
        if entry.spooled:
            bodies.remove(entry.call.body)
