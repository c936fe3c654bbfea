"""The one module that knows pynng: the listener of a hub (REP), and the connection of a spoke (REQ), both on trio.

pynng tells of pipes that come and go from threads of its own; here that happens in trio's thread. It is untyped, and its
errors are many: what comes out of here is `ConnectionLost`, or `CannotListen`.
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


class ConnectionLost(Exception):
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

    def of_listener(self) -> Any:
        """With an authority, who comes must show a certificate of it."""
        config = pynng.TLSConfig
        return self._config(
            config.MODE_SERVER, config.AUTH_MODE_REQUIRED if self.authority else config.AUTH_MODE_NONE
        )

    def of_dialer(self) -> Any:
        """The listener must show a certificate of the authority's, for the name that was dialled."""
        return self._config(pynng.TLSConfig.MODE_CLIENT, pynng.TLSConfig.AUTH_MODE_REQUIRED)


def check_certificates(certificates: Certificates, *, listener: bool) -> None:
    """Raises ValueError when these are no certificates."""
    try:
        certificates.of_listener() if listener else certificates.of_dialer()
    except pynng.NNGException as error:
        raise ValueError(_sentence(error)) from None


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


class IncomingRequest:
    """What came through the listener, and the way to reply to it. A reply to who has gone away is nothing."""

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


class Listener:
    """Where spokes come. `gone` is called with the number of each pipe that has closed, `came` with each new one."""

    def __init__(
        self, pipe_added: Callable[[int], None], pipe_removed: Callable[[int], None], tls: Certificates | None
    ) -> None:
        options = {} if tls is None else {"tls_config": tls.of_listener()}
        self._socket: Any = pynng.Rep0(recv_max_size=MAX_FRAME + SLACK, **options)
        self._pipes: dict[int, Any] = {}
        self._contexts = Contexts(self._socket)
        self._pipe_added = pipe_added
        self._pipe_removed = pipe_removed
        token = trio.lowlevel.current_trio_token()
        self._socket.add_post_pipe_connect_cb(_in_trio(token, self._add))
        self._socket.add_post_pipe_remove_cb(_in_trio(token, self._remove))

    def _add(self, pipe: Any) -> None:
        self._pipes[pipe.id] = pipe
        self._pipe_added(pipe.id)

    def _remove(self, pipe: Any) -> None:
        self._pipes.pop(pipe.id, None)
        self._pipe_removed(pipe.id)

    def listen(self, address: str) -> None:
        """Raises CannotListen."""
        try:
            self._socket.listen(address)
        except pynng.NNGException as error:
            raise CannotListen(_sentence(error)) from None

    async def receive(self) -> IncomingRequest:
        """The next question; it must be replied to or dropped."""
        while True:
            context = self._contexts.get()
            message = await self._receive_in(context)
            if message is not None and message.pipe is not None:
                return IncomingRequest(self._contexts, context, message.pipe.id, message.bytes)

    async def _receive_in(self, context: Any) -> Any:
        try:
            return await context.arecv_msg()
        except trio.Cancelled:
            self._contexts.drop(context)
            raise
        except pynng.Closed:
            raise ConnectionLost("the listener is closed") from None
        except pynng.NNGException:
            self._contexts.drop(context)
            return None

    def close_pipe(self, pipe: int) -> None:
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
async def open_listener(
    pipe_added: Callable[[int], None], pipe_removed: Callable[[int], None], tls: Certificates | None = None
) -> AsyncIterator[Listener]:
    """A listener that listens nowhere yet."""
    listener = Listener(pipe_added, pipe_removed, tls)
    try:
        yield listener
    finally:
        await listener.aclose()


class Connection:
    """A connection to a listener. When it is lost every wait ends with ConnectionLost, and it never comes back."""

    def __init__(self, socket: Any) -> None:
        self._contexts = Contexts(socket)
        self.lost = trio.Event()

    async def ask(self, data: bytes) -> bytes:
        """The reply to a message.

        Raises:
            ConnectionLost: it may or may not have been heard.
        """
        if self.lost.is_set():
            raise ConnectionLost("the connection is lost")
        try:
            return await self._ask(data)
        except pynng.NNGException as error:
            raise ConnectionLost(_sentence(error)) from None

    async def _ask(self, data: bytes) -> bytes:
        context = self._contexts.get()
        try:
            await context.asend(data)
            if (
                self.lost.is_set()
            ):  # the context is closed with its connection, and pynng stumbles over one that is
                raise ConnectionLost("the connection is lost")  # noqa: TRY301 - the context is dropped below
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
async def open_connection(
    address: str, tls: Certificates | None, patience: float
) -> AsyncIterator[Connection]:
    """A connection to a listener; `patience` is in seconds.

    Raises:
        ConnectionLost: nobody is there, or who is there is not trusted.
    """
    options = {} if tls is None else {"tls_config": tls.of_dialer()}
    socket: Any = pynng.Req0(
        recv_max_size=MAX_FRAME + SLACK, resend_time=_NEVER, reconnect_time_min=_NEVER, reconnect_time_max=_NEVER,
        **options,
    )  # fmt: skip
    connection = Connection(socket)
    socket.add_post_pipe_remove_cb(_in_trio(trio.lowlevel.current_trio_token(), lambda _: connection.close()))
    try:
        with trio.move_on_after(patience) as scope:
            await _dial(socket, address)
        if scope.cancelled_caught:
            raise ConnectionLost(f"no answer within {patience:g} s")
        yield connection
    finally:
        connection.close()
        await _close(socket)


async def _dial(socket: Any, address: str) -> None:
    def dial() -> None:
        socket.dial(address, block=True)

    try:
        await trio.to_thread.run_sync(dial, abandon_on_cancel=True)
    except pynng.NNGException as error:
        raise ConnectionLost(_sentence(error)) from None


async def _close(socket: Any) -> None:
    """In a thread: nng waits for its own to come to rest."""
    with trio.CancelScope(shield=True):
        await trio.to_thread.run_sync(socket.close)


def _in_trio(token: trio.lowlevel.TrioToken, work: Callable[[Any], None]) -> Callable[[Any], None]:
    def callback(pipe: Any) -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(work, pipe)

    return callback


def _sentence(error: Exception) -> str:
    """The message of nng, in lower case."""
    text = str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
