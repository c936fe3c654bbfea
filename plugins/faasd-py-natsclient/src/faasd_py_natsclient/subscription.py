"""One subscription, which outlives the connections it is made on."""

from __future__ import annotations

import logging
from collections.abc import Callable

from faasd_py_natsclient import encode
from faasd_py_natsclient.message import Message

log = logging.getLogger("faasd_py_natsclient")


class Subscription:
    """Messages of one subject go to `deliver`, in order, in the task that reads the connection."""

    __slots__ = ("_close", "_deliver", "_pattern", "_queue", "max_messages", "received", "sid", "subject")

    def __init__(
        self,
        sid: int,
        subject: str,
        pattern: bytes,
        queue: bytes,
        deliver: Callable[[Message], None],
        max_messages: int | None,
        close: Callable[[Subscription], None],
    ) -> None:
        self.sid = sid
        self.subject = subject
        self.received = 0
        self.max_messages = max_messages
        self._pattern = pattern
        self._queue = queue
        self._deliver = deliver
        self._close = close

    def __repr__(self) -> str:
        return f"<Subscription {self.sid} {self.subject!r} received={self.received}>"

    def unsubscribe(self) -> None:
        """No message is delivered after this. Twice is as good as once."""
        self._close(self)

    @property
    def done(self) -> bool:
        """As many as were asked for have come."""
        return self.max_messages is not None and self.received >= self.max_messages

    def take(self, message: Message) -> None:
        """One message from the wire. A callback that raises costs its own message only."""
        self.received += 1
        try:
            self._deliver(message)
        except Exception:  # the connection is everybody's
            log.exception("a callback of subscription %r failed", self.subject)

    def hello(self) -> bytes:
        """What a server must be told to have it."""
        said = encode.sub(self._pattern, self._queue, self.sid)
        if self.max_messages is None:
            return said
        return said + encode.unsub(self.sid, self.max_messages - self.received)
