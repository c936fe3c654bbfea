"""A bounded place between a subscription and the task that works on its messages."""

from __future__ import annotations

from collections import deque

import trio

from faasd_py_natsclient.message import Message


class Mailbox:
    """Pass `deliver` to `subscribe`, then `receive`.

    What comes while `max_messages` or `max_bytes` wait is dropped and counted: the newest goes, as in the other
    clients, and the connection goes on for everybody else.
    """

    def __init__(self, max_messages: int = 65536, max_bytes: int = 64 * 1024 * 1024) -> None:
        self.max_messages = max_messages
        self.max_bytes = max_bytes
        self.dropped = 0
        self.bytes = 0
        self._messages: deque[Message] = deque()
        self._lot = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        return len(self._messages)

    def deliver(self, message: Message) -> None:
        """The callback."""
        size = len(message.data)
        if len(self._messages) >= self.max_messages or self.bytes + size > self.max_bytes:
            self.dropped += 1
            return
        self._messages.append(message)
        self.bytes += size
        self._lot.unpark()

    async def receive(self) -> Message:
        """The oldest; waits for one. Cancelled, it has taken none."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages:
            await self._lot.park()
        return self.receive_nowait()

    def receive_nowait(self) -> Message:
        """The oldest.

        Raises:
            trio.WouldBlock: there is none.
        """
        if not self._messages:
            raise trio.WouldBlock
        message = self._messages.popleft()
        self.bytes -= len(message.data)
        return message
