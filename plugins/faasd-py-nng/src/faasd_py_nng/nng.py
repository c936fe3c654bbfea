"""The one module that knows pynng: a door that many come to (REP), and a line to one door (REQ), both on trio.

pynng tells of pipes that come and go from threads of its own; here that happens in trio's thread. It is untyped, and its
errors are many: what comes out of here is `LineLost`, or `CannotListen`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import pynng  # type: ignore[import-untyped]
import trio

from faasd_py_nng.wire import MAX_FRAME

SLACK: Final = 16 << 10
"""Bytes that the wrapping of a full chunk may take."""
SPARE: Final = 16
"""Contexts of a socket that are kept for later."""
_NEVER: Final = 24 * 3600 * 1000
"""Milliseconds until nng would try by itself what is ours to try."""


class LineLost(Exception):
    """There is no connection, or none any more; the text says why."""


class CannotListen(Exception):
    """The address cannot be had; the text says why."""


class Certificates:
    """PEM texts: whom to trust, and what to show."""

    def __init__(
        self, authority: str | None, certificate: str | None, key: str | None, server_name: str | None = None
    ) -> None:
        self.authority = authority
        self.certificate = certificate
        self.key = key
        self.server_name = server_name

    def _config(self, mode: Any, auth_mode: Any) -> Any:
        return pynng.TLSConfig(
            mode,
            server_name=self.server_name,
            ca_string=self.authority,
            own_key_string=self.key,
            own_cert_string=self.certificate,
            auth_mode=auth_mode,
        )

    def of_door(self) -> Any:
        """With an authority, who comes must show a certificate of it."""
        config = pynng.TLSConfig
        return self._config(
            config.MODE_SERVER, config.AUTH_MODE_REQUIRED if self.authority else config.AUTH_MODE_NONE
        )

    def of_line(self) -> Any:
        """The door must show a certificate of the authority's, for the name that was dialled."""
        return self._config(pynng.TLSConfig.MODE_CLIENT, pynng.TLSConfig.AUTH_MODE_REQUIRED)


def check_certificates(certificates: Certificates, *, door: bool) -> None:
    """Raises ValueError when these are no certificates."""
    try:
        certificates.of_door() if door else certificates.of_line()
    except pynng.NNGException as error:
        raise ValueError(_words(error)) from None


class Contexts:
    """The contexts of one socket: used again and again, and closed before it is (afterwards their closing fails)."""

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._all: set[Any] = set()
        self._free: list[Any] = []

    def get(self) -> Any:
        """One that nobody uses."""
        if self._free:
            return self._free.pop()
        context = self._socket.new_context()
        self._all.add(context)
        return context

    def put(self, context: Any) -> None:
        """It may be used again."""
        if len(self._free) < SPARE:
            self._free.append(context)
        else:
            self.drop(context)

    def drop(self, context: Any) -> None:
        """Close it, whatever it was doing."""
        self._all.discard(context)
        with suppress(pynng.NNGException):
            context.close()

    def close(self) -> None:
        """All of them."""
        self._free.clear()
        for context in list(self._all):
            self.drop(context)


class Question:
    """What came through the door, and the way to reply to it. A reply to who has gone away is nothing."""

    __slots__ = ("_context", "_contexts", "data", "pipe")

    def __init__(self, contexts: Contexts, context: Any, pipe: int, data: bytes) -> None:
        self._contexts = contexts
        self._context = context
        self.pipe = pipe
        self.data = data

    async def reply(self, data: bytes) -> None:
        """Once."""
        try:
            await self._context.asend(data)
        except pynng.NNGException:
            self.drop()
        else:
            self._contexts.put(self._context)

    def drop(self) -> None:
        """There is no reply."""
        self._contexts.drop(self._context)


class Door:
    """Where spokes come. `gone` is called with the number of each pipe that has closed, `came` with each new one."""

    def __init__(
        self, came: Callable[[int], None], gone: Callable[[int], None], tls: Certificates | None
    ) -> None:
        options = {} if tls is None else {"tls_config": tls.of_door()}
        self._socket: Any = pynng.Rep0(recv_max_size=MAX_FRAME + SLACK, **options)
        self._pipes: dict[int, Any] = {}
        self._contexts = Contexts(self._socket)
        self._came = came
        self._gone = gone
        token = trio.lowlevel.current_trio_token()
        self._socket.add_post_pipe_connect_cb(_in_trio(token, self._add))
        self._socket.add_post_pipe_remove_cb(_in_trio(token, self._remove))

    def _add(self, pipe: Any) -> None:
        self._pipes[pipe.id] = pipe
        self._came(pipe.id)

    def _remove(self, pipe: Any) -> None:
        self._pipes.pop(pipe.id, None)
        self._gone(pipe.id)

    def listen(self, address: str) -> None:
        """Raises CannotListen."""
        try:
            self._socket.listen(address)
        except pynng.NNGException as error:
            raise CannotListen(_words(error)) from None

    async def receive(self) -> Question:
        """The next question; it must be replied to or dropped."""
        while True:
            context = self._contexts.get()
            message = await self._receive_in(context)
            if message is not None and message.pipe is not None:
                return Question(self._contexts, context, message.pipe.id, message.bytes)

    async def _receive_in(self, context: Any) -> Any:
        try:
            return await context.arecv_msg()
        except trio.Cancelled:
            self._contexts.drop(context)
            raise
        except pynng.Closed:
            raise LineLost("the door is closed") from None
        except pynng.NNGException:
            self._contexts.drop(context)
            return None

    def hang_up(self, pipe: int) -> None:
        """End one connection."""
        found = self._pipes.pop(pipe, None)
        if found is not None:
            with suppress(pynng.NNGException):
                found.close()

    async def aclose(self) -> None:
        """Nobody can come any more."""
        self._contexts.close()
        await _close(self._socket)


@asynccontextmanager
async def open_door(
    came: Callable[[int], None], gone: Callable[[int], None], tls: Certificates | None = None
) -> AsyncIterator[Door]:
    """A door that listens nowhere yet."""
    door = Door(came, gone, tls)
    try:
        yield door
    finally:
        await door.aclose()


class Line:
    """A connection to a door. When it is lost every wait ends with LineLost, and it never comes back."""

    def __init__(self, socket: Any) -> None:
        self._contexts = Contexts(socket)
        self.lost = trio.Event()

    async def ask(self, data: bytes) -> bytes:
        """The reply to a message.

        Raises:
            LineLost: it may or may not have been heard.
        """
        if self.lost.is_set():
            raise LineLost("the connection is lost")
        try:
            return await self._ask(data)
        except pynng.NNGException as error:
            raise LineLost(_words(error)) from None

    async def _ask(self, data: bytes) -> bytes:
        context = self._contexts.get()
        try:
            await context.asend(data)
            if self.lost.is_set():  # the context is closed with its line, and pynng stumbles over one that is
                raise LineLost("the connection is lost")  # noqa: TRY301 - the context is dropped below
            reply: bytes = await context.arecv()
        except BaseException:
            self._contexts.drop(context)
            raise
        self._contexts.put(context)
        return reply

    def close(self) -> None:
        """Before its socket is."""
        self.lost.set()
        self._contexts.close()


@asynccontextmanager
async def open_line(address: str, tls: Certificates | None, patience: float) -> AsyncIterator[Line]:
    """A line to a door; `patience` is in seconds.

    Raises:
        LineLost: nobody is there, or who is there is not trusted.
    """
    options = {} if tls is None else {"tls_config": tls.of_line()}
    socket: Any = pynng.Req0(
        recv_max_size=MAX_FRAME + SLACK, resend_time=_NEVER, reconnect_time_min=_NEVER, reconnect_time_max=_NEVER,
        **options,
    )  # fmt: skip
    line = Line(socket)
    socket.add_post_pipe_remove_cb(_in_trio(trio.lowlevel.current_trio_token(), lambda _: line.close()))
    try:
        with trio.move_on_after(patience) as scope:
            await _dial(socket, address)
        if scope.cancelled_caught:
            raise LineLost(f"no answer within {patience:g} s")
        yield line
    finally:
        line.close()
        await _close(socket)


async def _dial(socket: Any, address: str) -> None:
    def dial() -> None:
        socket.dial(address, block=True)

    try:
        await trio.to_thread.run_sync(dial, abandon_on_cancel=True)
    except pynng.NNGException as error:
        raise LineLost(_words(error)) from None


async def _close(socket: Any) -> None:
    """In a thread: nng waits for its own to come to rest."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(socket.close)


def _in_trio(token: trio.lowlevel.TrioToken, work: Callable[[Any], None]) -> Callable[[Any], None]:
    def told(pipe: Any) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(work, pipe)

    return told


def _words(error: Exception) -> str:
    """The words of nng, in lower case."""
    text = str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
