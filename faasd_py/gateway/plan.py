"""Pure. What follows from the head of a request alone: worked out once for clients that send the same head again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from faasd_py.gateway import headers
from faasd_py.http.fields import without

if TYPE_CHECKING:
    from faasd_py.http.exchange import Exchange


class Plan:
    """Where an exchange goes, and with what.

    `go` takes the exchange there; `name` is whom it is for, and `target` what follows the name. `lines` are the header
    lines that go on, those about the client among them. `call_id` is the caller's own, None when there is none; `live`:
    the client asks for a stream of events.
    """

    __slots__ = ("_anonymous", "call_id", "go", "lines", "live", "name", "stored", "target")

    def __init__(
        self,
        go: Callable[[Exchange], Awaitable[None]],
        exchange: Exchange,
        name: bytes = b"",
        target: bytes = b"",
    ) -> None:
        fields = exchange.fields
        self.go = go
        self.name = name
        self.target = target
        self.lines = exchange.headers + headers.forwarded(fields, exchange.peer, exchange.host)
        self.call_id = fields.get(headers.CALL_ID)
        self.live = headers.is_live(fields)
        self.stored: bytes | None = None
        """The lines that an asynchronous call keeps, once somebody asked for them."""
        self._anonymous: bytes | None = None

    def anonymous(self) -> bytes:
        """`lines` for a function whose caller the gateway has asked: without the credential, which was for the gateway."""
        if self._anonymous is None:
            self._anonymous = without(self.lines, b"authorization")
        return self._anonymous
