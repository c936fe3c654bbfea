"""The client: what its users call, and what it does with what the server says.

It owns no task. `connect` runs links one after another and tells the client of each (`attach`, `detach`).
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
import logging
import re
import secrets
from collections.abc import Callable, Iterator, Mapping

import trio

from faasd_py_natsclient import encode, subjects
from faasd_py_natsclient.errors import (
    BadHeader,
    BufferFull,
    Closed,
    Disconnected,
    NoResponders,
    PayloadTooLarge,
    PermissionDenied,
    RequestTimeout,
)
from faasd_py_natsclient.headers import encode_headers
from faasd_py_natsclient.info import ServerInfo
from faasd_py_natsclient.link import Link
from faasd_py_natsclient.message import Err, Info, Message
from faasd_py_natsclient.options import Options
from faasd_py_natsclient.outbox import Outbox
from faasd_py_natsclient.subscription import Subscription
from faasd_py_natsclient.waiters import Waiters

log = logging.getLogger("faasd_py_natsclient")
ANSWERS = 1
"""The sid of the one subscription that all answers to requests come by."""
DENIED = re.compile(r'Permissions Violation for Publish to "([^"]+)"', re.IGNORECASE)


class Client:
    """Made by `connect`; used by any number of tasks of one trio run."""

    def __init__(self, options: Options) -> None:
        self.on_disconnected: list[Callable[[], None]] = []
        self.on_reconnected: list[Callable[[], None]] = []
        self.on_error: list[Callable[[str], None]] = []
        self.learn: Callable[[ServerInfo], None] = lambda _: None
        self.server_info = ServerInfo(headers=True)
        self.max_payload = self.server_info.max_payload
        self.reconnects = 0
        self._options = options
        self.outbox = Outbox(options.max_pending)
        self._link: Link | None = None
        self._closed = ""
        self._changed = trio.lowlevel.ParkingLot()
        self._subscriptions: dict[int, Subscription] = {}
        self._sids = itertools.count(ANSWERS + 1)
        self._requests: Waiters[Message] = Waiters()
        self._inbox = f"{self.new_inbox()}."
        self._tokens = itertools.count(1)

    # publishing

    def publish(
        self, subject: str, data: bytes, *, reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Put one message into the buffer; it is on its way within one turn of the loop.

        Raises:
            Disconnected: there is no connection and the buffer is full. With room, it waits for the next connection.
            Closed: there will be no connection.
            BufferFull: connected, and `max_pending` bytes wait: see `wait_room`.
            PayloadTooLarge, BadSubject, BadHeader: this message can't be sent.
        """
        part = self._encode(subject, data, subjects.literal(reply) if reply else b"", headers)
        if self._closed or self.outbox.full:
            raise self._no_room()
        self.outbox.put(part)

    def _encode(self, subject: str, data: bytes, reply: bytes, headers: Mapping[str, str] | None) -> bytes:
        block = encode_headers(headers) if headers else b""
        if block and not self.server_info.headers:
            raise BadHeader("this server is too old for headers")
        size = len(block) + len(data)
        if size > self.max_payload:
            raise PayloadTooLarge(f"a message of {size} bytes: the server takes {self.max_payload}")
        if block:
            return encode.hpub(subjects.literal(subject), reply, block, data)
        return encode.pub(subjects.literal(subject), reply, data)

    def _no_room(self) -> Disconnected | BufferFull:
        if self._closed:
            return Closed(self._closed)
        if self._link is None:
            return Disconnected(f"not connected, and {self.outbox.size} bytes wait already")
        return BufferFull(f"{self.outbox.size} bytes wait to be sent already")

    async def wait_room(self) -> None:
        """Until `publish` has room again.

        Raises:
            Closed: there will never be.
        """
        await trio.lowlevel.checkpoint()
        while self.outbox.full:
            self._raise_closed()
            await self.outbox.wait_room()
        self._raise_closed()

    async def flush(self, timeout: float) -> None:  # noqa: ASYNC109 - the deadline is part of what is asked
        """Until the server has read everything published so far, at most `timeout` seconds.

        Raises:
            Disconnected: the connection is not there, or was lost meanwhile.
            RequestTimeout: the server did not get to it.
        """
        link = self._connected_link()
        with trio.move_on_after(timeout):
            return await link.round_trip()
        raise RequestTimeout(f"no answer to a ping within {timeout:g} s")

    # requests

    def new_inbox(self) -> str:
        """A subject of our own that nobody else uses."""
        return f"{self._options.inbox_prefix}.{secrets.token_hex(11)}"

    async def request(
        self,
        subject: str,
        data: bytes,
        *,
        headers: Mapping[str, str] | None = None,
        timeout: float,  # noqa: ASYNC109 - the deadline is part of what is asked
    ) -> Message:
        """Publish, and wait for the first answer, at most `timeout` seconds.

        Raises:
            NoResponders: nobody is subscribed.
            RequestTimeout: nobody answered.
            PermissionDenied: these credentials may not publish there.
            Disconnected: the connection is not there, or was lost while waiting.
            PayloadTooLarge, BadSubject, BadHeader: this message can't be sent.
        """
        token = str(next(self._tokens))
        part = self._encode(subject, data, (self._inbox + token).encode(), headers)
        with trio.move_on_after(timeout):
            while self.outbox.full and self._link is not None:
                await self.outbox.wait_room()
            self._connected_link()
            self.outbox.put_bound(part)
            return self._answered(subject, await self._requests.wait(token, subject))
        raise RequestTimeout(f"no answer on {subject} within {timeout:g} s")

    @staticmethod
    def _answered(subject: str, message: Message) -> Message:
        if message.status == 503 and not message.data:
            raise NoResponders(f"nobody listens on {subject}")
        return message

    # subscriptions

    def subscribe(
        self,
        subject: str,
        deliver: Callable[[Message], None],
        *,
        queue: str = "",
        max_messages: int | None = None,
    ) -> Subscription:
        """Have messages delivered, now and on every connection to come.

        Args:
            subject: may have wildcards.
            deliver: called in the reading task, in order; it must not wait. An error in it is logged.
            queue: the group among whose members each message goes to one.
            max_messages: the subscription ends by itself after so many.

        Raises:
            Closed: there is no connection to come.
            BadSubject: the subject or group is none.
            ValueError: `deliver` is a coroutine function, or `max_messages` less than 1.
        """
        if inspect.iscoroutinefunction(deliver) or (max_messages is not None and max_messages < 1):
            raise ValueError("subscribe: deliver is a plain function, and max_messages at least 1")
        self._raise_closed()
        pattern, group = subjects.pattern(subject), subjects.queue_group(queue) if queue else b""
        made = Subscription(
            next(self._sids), subject, pattern, group, deliver, max_messages, self._unsubscribe
        )
        self._subscriptions[made.sid] = made
        if self._link is not None:
            self.outbox.put_bound(made.hello())
        return made

    def _unsubscribe(self, subscription: Subscription) -> None:
        known = self._subscriptions.pop(subscription.sid, None)
        if known is not None and self._link is not None:
            self.outbox.put_bound(encode.unsub(subscription.sid))

    # the connection

    @property
    def closed(self) -> bool:
        """There will be no connection any more."""
        return bool(self._closed)

    @property
    def connected(self) -> bool:
        """There is a connection, as far as anybody knows."""
        return self._link is not None

    async def wait_connected(self) -> None:
        """Until there is a connection; at once when there is.

        Raises:
            Closed: there will be none.
        """
        await trio.lowlevel.checkpoint()
        while self._link is None:
            self._raise_closed()
            await self._changed.park()

    async def drain(self, timeout: float = 30.0) -> None:  # noqa: ASYNC109 - as above
        """Take leave: no new messages, those under way are delivered, everything published is sent; then closed.

        Raises:
            Disconnected: there is no connection; nothing has changed.
            Closed, RequestTimeout: it could not be done in order; closed all the same.
        """
        link = self._connected_link()
        for sid in self._subscriptions:
            self.outbox.put_bound(encode.unsub(sid))
        try:
            await self.flush(timeout)
            await self.flush(timeout)
        finally:
            self._subscriptions.clear()
            self.close("drained")
            link.lose("drained")

    def _connected_link(self) -> Link:
        self._raise_closed()
        if self._link is None:
            raise Disconnected("not connected")
        return self._link

    def _raise_closed(self) -> None:
        if self._closed:
            raise Closed(self._closed)

    # for `connect` only

    def attach(self, link: Link, info: ServerInfo) -> None:
        """A connection stands: the server is told of every subscription before it hears anything else."""
        self._learn(info)
        answers = encode.sub(f"{self._inbox}*".encode(), b"", ANSWERS)
        self.outbox.begin(answers + b"".join(one.hello() for one in self._subscriptions.values()))
        self._link = link
        self._changed.unpark_all()

    def detach(self, reason: str) -> None:
        """The connection is lost: whoever waits for an answer is told now."""
        self._link = None
        self.outbox.drop_bound()
        self._requests.fail_all(lambda: Disconnected(f"connection lost: {reason}"))

    def close(self, reason: str) -> None:
        """There will be no more connection. The first reason counts."""
        self._closed = self._closed or reason
        self._link = None
        self._requests.fail_all(lambda: Closed(self._closed))
        self._changed.unpark_all()
        self.outbox.drop_bound()

    def announce(self, callbacks: list[Callable[[], None]]) -> None:
        """Call each; one that raises is logged."""
        for callback in list(callbacks):
            with _logged("a connection callback failed"):
                callback()

    def deliver(self, message: Message) -> None:
        """One message from the wire: the hot path."""
        sid = message.sid
        if sid == ANSWERS:
            self._requests.answer(message.subject[len(self._inbox) :], message)
        elif (subscription := self._subscriptions.get(sid)) is not None:
            subscription.take(message)
            if subscription.done:
                self._subscriptions.pop(sid, None)

    def tell(self, event: Info | Err) -> None:
        """What the server says besides messages."""
        if isinstance(event, Info):
            self._learn(ServerInfo.of(event.fields))
        else:
            self._complain(event.text)

    def _complain(self, text: str) -> None:
        log.warning("the NATS server says: %s", text)
        if denied := DENIED.match(text):
            self._requests.fail_about(denied[1], lambda: PermissionDenied(text))
        for callback in list(self.on_error):
            with _logged("an error callback failed"):
                callback(text)

    def _learn(self, info: ServerInfo) -> None:
        self.server_info = info
        self.max_payload = info.max_payload
        self.learn(info)


@contextlib.contextmanager
def _logged(text: str) -> Iterator[None]:
    try:
        yield
    except Exception:
        log.exception(text)
