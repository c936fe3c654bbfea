"""Which channel a call goes into, and which are read.

With `subject_per_function` each function has a channel of its own. STAN tells nobody which channels there are, so their
names are in a channel, too, which every daemon reads from its beginning. Functions
for which the server has no room share the common one.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from faasd_py_nats_streaming import names
from faasd_py_nats_streaming.channel import Channel
from faasd_py_nats_streaming.errors import Refused, StanError
from faasd_py_nats_streaming.intake import Intake
from faasd_py_nats_streaming.proto import MsgProto
from faasd_py_nats_streaming.session import Session
from faasd_py_nats_streaming.settings import Options

log: Final = logging.getLogger("faasd_py_nats_streaming")
Receive = Callable[[Intake, MsgProto], None]


class Channels:
    """`intakes` are those that are read, by subject."""

    def __init__(self, options: Options, session: Session) -> None:
        self.intakes: dict[str, Intake] = {}
        self._options = options
        self._session = session
        self._receive: Receive = lambda _intake, _message: None
        self._common: set[str] = set()
        self._refused: set[str] = set()
        self._told = trio.lowlevel.ParkingLot()
        self._found, self._finds = trio.open_memory_channel[str](10_000)
        self._registry: Channel | None = None

    async def open(self, receive: Receive) -> None:
        """Read what there is to read; each message goes to `receive`."""
        self._receive = receive
        options = self._options
        if not options.consume:
            return
        await self._read(options.subject, options.max_in_flight, needed=True)
        await self._read(options.later_subject, options.max_delayed, needed=True)
        await self._read(options.callbacks_subject, options.max_in_flight, needed=True)
        if options.subject_per_function:
            self._registry = Channel(options.lanes_subject, self._on_name)
            await self._session.read(self._registry)

    async def _read(self, subject: str, in_flight: int, *, needed: bool) -> None:
        if subject in self.intakes:
            return
        options = self._options

        def deliver(message: MsgProto) -> None:
            self._receive(intake, message)

        channel = Channel(
            subject,
            deliver,
            group=options.queue_group,
            durable=options.durable if subject == options.subject else names.durable(subject),
            max_in_flight=in_flight,
            ack_wait=options.ack_wait,
        )
        intake = Intake(channel)
        await self._session.read(channel, needed=needed)
        self.intakes[subject] = intake

    def _on_name(self, message: MsgProto) -> None:
        subject = message.data.decode("ascii", "replace")
        if subject.startswith(f"{self._options.subject}.") and names.CHANNEL.fullmatch(subject):
            self._found.send_nowait(subject)
        if self._registry is not None:
            self._registry.ack(message.sequence)

    async def follow(self) -> None:
        """Read the channels of functions as they become known; until cancelled."""
        async for subject in self._finds:
            try:
                await self._read(subject, self._options.max_in_flight, needed=False)
            except Refused as error:
                log.error("%s", error)  # noqa: TRY400 - one sentence
                self._refused.add(subject)
            self._told.unpark_all()

    def subject(self, lane: str) -> str:
        """Where a call of this lane goes."""
        options = self._options
        if not names.is_function(lane):
            return options.callbacks_subject
        if not options.subject_per_function or lane in self._common:
            return options.subject
        return names.function_channel(options.subject, lane)

    async def ready(self, lane: str) -> str:
        """Where a call of this lane goes; if that is a channel of its own, it is known to all who read.

        Raises:
            StanError: it could not be made known.
        """
        subject = self.subject(lane)
        if subject in self.intakes or not self._options.consume:
            return subject
        try:
            await self._session.publish(
                self._options.lanes_subject, f"{subject}@{self._session.nats.new_inbox()}", subject.encode()
            ).wait()
            await self._known(subject)
        except Refused as error:
            self.share(lane, error)
            return self._options.subject
        return subject

    async def _known(self, subject: str) -> None:
        while subject not in self.intakes:
            if subject in self._refused:
                raise Refused(f"the server does not let us read {subject}")
            await self._told.park()

    def share(self, lane: str, why: StanError) -> None:
        """The function goes into the common channel from now on."""
        log.warning("%s shares the common channel: %s", lane, why)
        self._common.add(lane)
