"""What the parts of one open queue share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import trio

from faasd_py.api import QueueSettings
from faasd_py_nats_streaming.alarms import Alarms
from faasd_py_nats_streaming.bodies import Bodies
from faasd_py_nats_streaming.books import Books
from faasd_py_nats_streaming.channels import Channels
from faasd_py_nats_streaming.entry import Entry, Phase
from faasd_py_nats_streaming.formats import Format
from faasd_py_nats_streaming.freight import Freight
from faasd_py_nats_streaming.journal import Journal
from faasd_py_nats_streaming.session import Session
from faasd_py_nats_streaming.settings import Options


@dataclass(slots=True, kw_only=True)
class Parts:
    """`clock` is the wall clock, in seconds since 1970; `danger` is why a channel takes no more calls."""

    options: Options
    settings: QueueSettings
    session: Session
    channels: Channels
    journal: Journal
    books: Books
    freight: Freight
    format: Format
    bodies: Bodies
    clock: Callable[[], float]
    nursery: trio.Nursery
    alarms: Alarms[Entry] = field(default_factory=Alarms)
    alarm: trio.Event = field(default_factory=trio.Event)
    guids: dict[str, Entry] = field(default_factory=dict)
    """Publications that we hold, so that one that was published twice runs once."""
    past: dict[str, None] = field(default_factory=dict)
    """Publications that we held lately."""
    danger: dict[str, str] = field(default_factory=dict)
    damage: str = ""

    def ready(self, entry: Entry) -> None:
        """The call may be given out now."""
        self.books.lanes.arrived(entry)

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
