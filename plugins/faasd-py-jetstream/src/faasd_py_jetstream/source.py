"""One pull consumer: the calls of one lane and priority."""

from __future__ import annotations

import itertools
from typing import Final, Protocol

import msgspec
import trio

from faasd_py_jetstream.entry import Entry, Past
from faasd_py_natsclient import BufferFull, Client, Disconnected, Message

EXPIRES: Final = 10.0
"""Seconds that a request for calls waits at the broker."""
REMEMBERED: Final = 100_000
"""Calls whose past is remembered here; of others it is read from their rows."""


class Listener(Protocol):
    """Who is told of what comes; in the reading task, so it must not wait."""

    def came(self, source: Source, message: Message) -> None:
        """A call."""
        ...

    def ended(self, source: Source) -> None:
        """A request was not filled."""
        ...

    def gone(self, source: Source) -> None:
        """The consumer was deleted."""
        ...


class Source:
    """`requested` are calls asked for that have not come; `backlog`: the broker had more behind the last that came.

    `unacked` are those in our hands, by sequence; `pasts` those that we gave back.
    """

    def __init__(
        self,
        client: Client,
        subject: str,
        *,
        lane: str,
        priority: str,
        consumer: str,
        listener: Listener,
    ) -> None:
        self.lane = lane
        self.priority = priority
        self.consumer = consumer
        self.ready: trio.Event | None = None
        """Set when the consumer is there; None: nobody has seen to it yet."""
        self.requested = 0
        self.at_hand = 0
        self.backlog = 0
        self.expected = 0
        """Calls put by us, or seen by the broker, that have not come."""
        self.highest = 0
        """The greatest sequence that came: what comes below was given out before."""
        self.unacked: dict[int, Entry] = {}
        self.pasts: dict[int, Past] = {}
        self.asked_at = 0.0
        self.came_at = 0.0
        self.busy_at = 0.0
        """When it last had anything, by trio's clock."""
        self._client = client
        self._subject = subject
        self._listener = listener
        self._numbers = itertools.count()
        self._inbox = client.new_inbox()
        self._subscription = client.subscribe(f"{self._inbox}.*", self._deliver)

    def __repr__(self) -> str:
        return f"<Source {self.consumer} requested={self.requested} at hand={self.at_hand} unacked={len(self.unacked)}>"

    @property
    def usable(self) -> bool:
        """The consumer is there."""
        return self.ready is not None and self.ready.is_set()

    def pull(self, count: int) -> None:
        """Ask for so many calls."""
        if not self.usable or not self._client.connected:
            return
        body = msgspec.json.encode({"batch": count, "expires": int(EXPIRES * 1e9)})
        try:
            self._client.publish(self._subject, body, reply=f"{self._inbox}.{next(self._numbers)}")
        except (Disconnected, BufferFull):
            return
        self.requested += count
        self.asked_at = trio.current_time()

    def _deliver(self, message: Message) -> None:
        if message.status is None:
            self.requested -= self.requested > 0
            self.expected -= self.expected > 0
            self.came_at = trio.current_time()
            self._listener.came(self, message)
            return
        self._told(message)

    def _told(self, message: Message) -> None:
        """A request ended: it was waited for long enough, or the consumer changes hands, or is no more."""
        self.expected = 0
        left = (message.headers or {}).get("Nats-Pending-Messages", "")
        self.requested = max(0, self.requested - int(left)) if left.isdigit() else 0
        if message.status == 409 and "deleted" in message.description.lower():
            self.ready = None
            self._listener.gone(self)
        elif message.status != 503:
            self._listener.ended(self)

    def renew(self) -> None:
        """The stream is another one: nothing is known of its messages."""
        self.ready = None
        self.requested = self.expected = self.backlog = self.highest = 0
        self.pasts.clear()

    def lost(self) -> None:
        """Requests died with the connection, or the consumer's leader."""
        self.requested = 0

    def promises(self, now: float, patience: float) -> bool:
        """A call is on its way here, as far as is known."""
        return self.expected > 0 and self.requested > 0 and now - self.asked_at < patience

    def overdue(self, now: float) -> bool:
        """The last request should have ended long ago."""
        return self.requested > 0 and now - max(self.asked_at, self.came_at) > EXPIRES + 1

    def remember(self, entry: Entry, past: Past) -> None:
        """The message will come again, and this is what we know of it."""
        self.unacked.pop(entry.seq, None)
        if len(self.pasts) >= REMEMBERED:
            self.pasts.pop(next(iter(self.pasts)))
        self.pasts[entry.seq] = past

    def close(self) -> None:
        """No more deliveries."""
        self._subscription.unsubscribe()
