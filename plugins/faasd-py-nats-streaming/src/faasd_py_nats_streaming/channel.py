"""One channel that we read, through however many subscriptions that takes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from faasd_py_nats_streaming.errors import Refused
from faasd_py_nats_streaming.proto import (
    Ack,
    MsgProto,
    SubscriptionRequest,
    SubscriptionResponse,
    UnsubscribeRequest,
)
from faasd_py_natsclient import Client, Message, NatsError

if TYPE_CHECKING:
    from faasd_py_natsclient import Subscription

log: Final = logging.getLogger("faasd_py_nats_streaming")
FIRST: Final = 4
"""StartPosition First: for a durable only the first time."""


class Channel:
    """What is read, as whom, and how much of it at once. `deliver` is called for each message, in order.

    Without a group it is read from its beginning, each time, by us alone.
    """

    def __init__(
        self,
        subject: str,
        deliver: Callable[[MsgProto], None],
        *,
        group: str = "",
        durable: str = "",
        max_in_flight: int = 1024,
        ack_wait: float = 60,
    ) -> None:
        self.subject = subject
        self.group = group
        self.durable = durable
        self.max_in_flight = max_in_flight
        self.ack_wait = ack_wait
        self._deliver = deliver
        self._nats: Client | None = None
        self._listening: Subscription | None = None
        self._inbox = ""
        self._ack_inbox = ""
        self._early: list[int] = []

    def __repr__(self) -> str:
        return f"<Channel {self.subject} {'subscribed' if self._ack_inbox else 'idle'}>"

    async def subscribe(self, nats: Client, client_id: str, requests: str, timeout: float) -> None:  # noqa: ASYNC109
        """Read it from now on; what was not acknowledged to an earlier subscription of the durable comes again.

        Raises:
            Refused: the server says no.
            NatsError: nobody answered.
        """
        self.forget()
        self._nats, self._inbox = nats, nats.new_inbox()
        self._listening = nats.subscribe(self._inbox, self._on_message)
        request = SubscriptionRequest(
            clientID=client_id,
            subject=self.subject,
            qGroup=self.group,
            inbox=self._inbox,
            maxInFlight=self.max_in_flight,
            ackWaitInSecs=max(1, round(self.ack_wait)),
            durableName=self.durable,
            startPosition=FIRST,
        )
        answer = await nats.request(requests, request.SerializeToString(), timeout=timeout)
        response = SubscriptionResponse.FromString(answer.data)
        if response.error:
            raise Refused(f"the server refuses the subscription of {self.subject}: {response.error}")
        self._ack_inbox = response.ackInbox
        early, self._early = self._early, []
        for sequence in early:
            self.ack(sequence)

    async def leave(self, nats: Client, client_id: str, requests: str, timeout: float) -> None:  # noqa: ASYNC109
        """End the subscription at the server; a durable stays.

        Raises:
            NatsError: nobody answered.
        """
        inbox, acks = self._inbox, self._ack_inbox
        self.forget()
        if inbox:
            request = UnsubscribeRequest(
                clientID=client_id, subject=self.subject, inbox=acks or inbox, durableName=self.durable
            )
            await nats.request(requests, request.SerializeToString(), timeout=timeout)

    def forget(self) -> None:
        """Hear nothing more from the subscription there was. Sequences that were to be acknowledged come again."""
        if self._listening is not None:
            self._listening.unsubscribe()
        self._listening, self._inbox, self._ack_inbox = None, "", ""
        self._early.clear()

    def ack(self, sequence: int) -> None:
        """The message is done with. An ack that cannot be sent is lost: the message comes again, and so does its ack."""
        if not self._ack_inbox or self._nats is None:
            self._early.append(sequence)
            return
        data = Ack(subject=self.subject, sequence=sequence).SerializeToString()
        try:
            self._nats.publish(self._ack_inbox, data)
        except NatsError as error:
            log.debug("ack %d of %s is lost: %s", sequence, self.subject, error)

    def _on_message(self, message: Message) -> None:
        self._deliver(MsgProto.FromString(message.data))
