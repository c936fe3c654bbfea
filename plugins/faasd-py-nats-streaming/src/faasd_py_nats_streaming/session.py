"""A client of a STAN server for as long as a block runs: registered again whenever it is lost.

    away ─connect─▶ up ─┬─ NATS came back ───────────────▶ up    subscribed anew: what was under way comes again
      ▲                 ├─ pings unanswered too often ─┐
      └─────────────────┴─ "client has been replaced" ─┴▶ away

One connection id is one life at the server. The server asks an older life's heartbeat inbox before it lets a new one
in, so we stop listening there first; another daemon that lives under our name answers, and we wait outside.
"""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Callable
from typing import Final

import trio

from faasd_py_nats_streaming.channel import Channel
from faasd_py_nats_streaming.errors import Away, Refused, StanError, TooLarge, Unconfirmed
from faasd_py_nats_streaming.proto import (
    CloseRequest,
    ConnectRequest,
    ConnectResponse,
    Ping,
    PingResponse,
    PubAck,
    PubMsg,
)
from faasd_py_nats_streaming.pubs import Pub, Pubs
from faasd_py_nats_streaming.settings import Options
from faasd_py_natsclient import Client, Message, NatsError, NoResponders, PayloadTooLarge, Subscription

log: Final = logging.getLogger("faasd_py_nats_streaming")
PROTOCOL: Final = 1
FAREWELL: Final = 2.0
"""Seconds that the end waits for the server's goodbye."""
STRANGERS: Final = frozenset({"stan: invalid publish request", "stan: unknown clientID"})
"""What a server says to a client that it does not know (any more)."""


class Session:
    """`run` keeps it up; everything else may be called at any time."""

    def __init__(self, nats: Client, options: Options) -> None:
        self.nats = nats
        self.pubs = Pubs(options.max_pubs_in_flight, options.put_timeout)
        self.generation = 0
        """How often it came up."""
        self._options = options
        self._channels: list[Channel] = []
        self._prefixes = ConnectResponse()
        self._conn_id = b""
        self._heartbeats: Subscription | None = None
        self._acks = f"_STAN.acks.{secrets.token_hex(11)}."
        self._up = False
        self._ever_up = trio.Event()
        self._reason = "not connected to NATS Streaming yet"
        self._ailing = ""
        self._news = trio.Event()
        self._lost = ""
        self._renew = False
        self._closed = False
        nats.subscribe(f"{self._acks}>", self._on_ack)
        nats.on_reconnected.append(self._on_reconnected)

    def __repr__(self) -> str:
        return f"<Session {self._options.client_id} {'up' if self._up else self._reason}>"

    @property
    def up(self) -> bool:
        """Registered at a server, as far as anybody knows."""
        return self._up and self.nats.connected

    def trouble(self) -> str | None:
        """Why nothing can be published now."""
        if not self._up:
            return self._reason
        if not self.nats.connected:
            return "the connection to the NATS server is lost"
        return self._ailing or None

    @staticmethod
    def now() -> float:
        """The clock of deadlines and silences."""
        return trio.current_time()

    async def wait_up(self) -> None:
        """Until it was up once."""
        await self._ever_up.wait()

    # publishing

    async def room(self) -> None:
        """Until one more message may be under way. No checkpoint if it may.

        Raises:
            Away: there is no server.
        """
        await self.pubs.room()
        if self.nats.outbox.full:
            try:
                await self.nats.wait_room()
            except NatsError as error:
                raise Away(str(error)) from None

    def publish(
        self, subject: str, token: str, data: bytes, ended: Callable[[Pub], None] | None = None
    ) -> Pub:
        """Send a message to a channel; `Pub.wait` tells when it is stored. `token` is its guid, never used before.

        Raises:
            Away: there is no server.
            TooLarge: over max_payload.
        """
        if (trouble := self.trouble()) is not None:
            raise Away(trouble)
        message = PubMsg(
            clientID=self._options.client_id, guid=token, subject=subject, data=data, connID=self._conn_id
        ).SerializeToString()
        try:
            self.nats.publish(f"{self._prefixes.pubPrefix}.{subject}", message, reply=self._acks + token)
        except PayloadTooLarge as error:
            raise TooLarge(str(error)) from None
        except NatsError as error:
            raise Away(str(error)) from None
        return self.pubs.open(token, ended)

    def confirm(self, token: str) -> None:
        """The message was seen in its channel: it is stored, whatever becomes of the server's ack."""
        self.pubs.end(token, None)

    def _on_ack(self, message: Message) -> None:
        token = message.subject[len(self._acks) :]
        if message.status == 503:
            self._ailing = "no NATS Streaming server answers"
            self._news.set()
            self.pubs.end(token, Away(self._ailing))
            return
        error = PubAck.FromString(message.data).error
        self._ailing = ""
        if error in STRANGERS:
            self._lose(f"the server does not know us any more ({error})")
        self.pubs.end(token, Refused(error) if error else None)

    # reading

    async def read(self, channel: Channel, *, needed: bool = True) -> None:
        """Read a channel from now on, through every connection to come.

        Raises:
            Refused: the server says no to one that is not needed. Without a needed one there is no connection.
        """
        self._channels.append(channel)
        if not self.up:
            return
        try:
            await self._subscribe(channel)
        except NatsError as error:
            self._lose(f"no answer to a subscription: {error}")
        except Refused as error:
            if not needed:
                self._channels.remove(channel)
                channel.forget()
                raise
            self._lose(str(error))

    async def _subscribe(self, channel: Channel) -> None:
        options = self._options
        await channel.subscribe(
            self.nats, options.client_id, self._prefixes.subRequests, max(options.connect_timeout, 1.0)
        )

    # its life

    async def run(self) -> None:
        """Until cancelled, or closed."""
        wait = 0.0
        while not self._closed:
            await trio.sleep(wait)
            wait = min(max(2 * wait, 0.05), self._options.reconnect_wait)
            try:
                await self._connect()
            except (StanError, NatsError) as error:
                self._fell(str(error))
                continue
            wait = 0.0
            await self._watch()
            if not self._closed:
                self._fell(self._lost)

    async def _connect(self) -> None:
        options = self._options
        await self.nats.wait_connected()
        self._deafen()
        inbox = self.nats.new_inbox()
        self._heartbeats = self.nats.subscribe(inbox, self._beat)
        self._conn_id = secrets.token_hex(11).encode()
        seconds = max(1, math.ceil(options.ping_interval))
        request = ConnectRequest(
            clientID=options.client_id, heartbeatInbox=inbox, protocol=PROTOCOL, connID=self._conn_id,
            pingInterval=seconds, pingMaxOut=max(3, options.ping_max_out),
        )  # fmt: skip
        subject = f"_STAN.discover.{options.cluster_id}"
        try:
            answer = await self.nats.request(
                subject, request.SerializeToString(), timeout=options.connect_timeout
            )
        except NoResponders:
            raise Away(f"no NATS Streaming server for the cluster {options.cluster_id!r}") from None
        response = ConnectResponse.FromString(answer.data)
        if response.error:
            raise Refused(
                f"the server refuses the client id {options.client_id!r}: {response.error.removeprefix('stan: ')}"
            )
        self._prefixes, self._lost, self._renew, self._ailing = response, "", False, ""
        for channel in self._channels:  # also those that are added meanwhile
            await self._subscribe(channel)
        self._rise()

    def _rise(self) -> None:
        if self.generation or self._reason:
            log.info("connected to NATS Streaming as %s", self._options.client_id)
        self._up = True
        self.generation += 1
        self._reason = ""
        self._ever_up.set()

    def _fell(self, reason: str) -> None:
        """Away. Pings and acks of the life that is over concern nobody."""
        if reason != self._reason:
            log.warning("not connected to NATS Streaming: %s", reason)
        self._up, self._reason = False, reason
        for channel in self._channels:
            channel.forget()
        self._deafen()
        self.pubs.fail_all(lambda: Unconfirmed(f"the server was lost before it confirmed: {reason}"))

    def _deafen(self) -> None:
        """Hear no more heartbeats: the life that they ask after is over."""
        if self._heartbeats is not None:
            self._heartbeats.unsubscribe()
            self._heartbeats = None

    async def _watch(self) -> None:
        """Until it is lost: `_lost` says why."""
        unanswered = 0
        while not self._lost:
            with trio.move_on_after(
                min(self._options.ping_interval, 1.0) if unanswered else self._options.ping_interval
            ):
                await self._news.wait()
            self._news = trio.Event()
            if self._lost or not self.nats.connected:
                continue
            if self._renew:
                await self._resubscribe()
                continue
            unanswered = 0 if await self._ping() else unanswered + 1
            if unanswered >= self._options.ping_max_out:
                self._lose(f"{unanswered} pings without an answer")

    async def _ping(self) -> bool:
        """Whether the server answered, with whatever words."""
        data = Ping(connID=self._conn_id).SerializeToString()
        try:
            answer = await self.nats.request(
                self._prefixes.pingRequests, data, timeout=max(self._options.ping_interval, 0.5)
            )
        except NatsError:
            self._ailing = "no NATS Streaming server answers"
            return False
        self._ailing = ""
        error = PingResponse.FromString(answer.data).error
        if error:
            self._lose(error.removeprefix("stan: "))
        return True

    async def _resubscribe(self) -> None:
        """After a gap in the NATS connection: what was sent into it would only come again after ack_wait."""
        self._renew = False
        timeout = max(self._options.connect_timeout, 1.0)
        try:
            for channel in list(self._channels):
                await channel.leave(
                    self.nats, self._options.client_id, self._prefixes.subCloseRequests, timeout
                )
                await self._subscribe(channel)
        except (StanError, NatsError) as error:
            self._lose(f"no answer to a subscription: {error}")

    def _lose(self, reason: str) -> None:
        self._lost = self._lost or reason
        self._news.set()

    def _on_reconnected(self) -> None:
        self._renew = True
        self._news.set()

    def _beat(self, message: Message) -> None:
        """The server asks whether we live."""
        if message.reply:
            self.nats.publish(message.reply, b"")

    async def close(self) -> None:
        """Take leave, so that what we held is given to others, or to our next life, at once. Once is enough."""
        was_closed, self._closed = self._closed, True
        if self.up and not was_closed:
            request = CloseRequest(clientID=self._options.client_id).SerializeToString()
            with trio.CancelScope(shield=True):
                try:
                    await self.nats.request(self._prefixes.closeRequests, request, timeout=FAREWELL)
                except NatsError as error:
                    log.warning("NATS Streaming did not see us off: %s", error)
        self._up, self._reason = False, "the queue is closed"
        self._lose(self._reason)
        self._deafen()
        for channel in self._channels:
            channel.forget()
