"""Getting things into the channels: counted while under way, tried until it is done where it must be."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import trio

from faasd_py_nats_streaming.envelope import Envelope
from faasd_py_nats_streaming.errors import StanError, TooLarge, Unconfirmed
from faasd_py_nats_streaming.pubs import Pub

if TYPE_CHECKING:
    from faasd_py_nats_streaming.counters import Counters
    from faasd_py_nats_streaming.session import Session

log: Final = logging.getLogger("faasd_py_nats_streaming")
LONGEST: Final = 2.0
"""Seconds between two attempts at most."""


def token(envelope: Envelope) -> str:
    """The guid of a publication: the call, and how often it was published."""
    return f"{envelope.id}.{envelope.hop}" if envelope.hop else envelope.id


class Publishing:
    """Publishes envelopes and letters."""

    def __init__(self, session: Session, counters: Counters) -> None:
        self._session = session
        self._counters = counters

    async def once(self, subject: str, envelope: Envelope, data: bytes) -> None:
        """Publish a new call; when this returns it is stored. It is counted from now on, unless this fails.

        Raises:
            StanError: it is not, or nobody knows. Cancelled, it may be.
        """
        counters = self._counters
        counters.sent(envelope)

        def ended(pub: Pub) -> None:
            if pub.error is not None:
                counters.unsent(envelope)
                if pub.waited and isinstance(pub.error, Unconfirmed):
                    counters.disown(envelope.id)

        try:
            pub = self._session.publish(subject, token(envelope), data, ended)
        except StanError:
            counters.unsent(envelope)
            raise
        await pub.wait()

    async def again(self, subject: str, envelope: Envelope, data: bytes) -> bool:
        """Publish a call that was accepted, however long that takes. False: the server would never take it."""
        self._counters.sent(envelope)
        done = False
        try:
            done = await self.surely(subject, token(envelope), data)
        finally:
            if not done:
                self._counters.unsent(envelope)
        return done

    async def surely(self, subject: str, guid: str, data: bytes) -> bool:
        """Publish, however long that takes. False: the server would never take it."""
        wait = 0.02
        while True:
            try:
                await self._session.room()
                await self._session.publish(subject, guid, data).wait()
            except TooLarge as error:
                log.error("%s cannot be published to %s: %s", guid, subject, error)  # noqa: TRY400 - one sentence
                return False
            except StanError as error:
                log.debug("%s waits to be published to %s: %s", guid, subject, error)
                await trio.sleep(wait)
                wait = min(2 * wait, LONGEST)
            else:
                return True
