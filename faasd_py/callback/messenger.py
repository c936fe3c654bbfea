"""The messenger: one callback, one signed POST to the URL it is for, or a call inside the daemon when that is us."""

from __future__ import annotations

import ssl
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

import msgspec
import trio

from faasd_py.callback.destinations import Destinations
from faasd_py.callback.guard import AddressRefused, Guard, Resolve, check_url, is_own
from faasd_py.callback.secrets import load_secrets
from faasd_py.callback.signature import Signer
from faasd_py.callback.sink import Enough, Sink
from faasd_py.callback.url import ParsedUrl
from faasd_py.config import CallbackSettings
from faasd_py.core.call import Call, Spooled
from faasd_py.core.errors import BadOption, FaasdError
from faasd_py.core.outcome import Outcome
from faasd_py.http.errors import WireError

GUARD: Final = "guard"
"""`Outcome.internal` of a delivery that was refused: it is of no use to try it again."""
CALLBACK: Final = "callback"
"""`Outcome.internal` of a delivery that the receiver did not answer."""

Local = Callable[[Call], Awaitable[Outcome]]


class Source(Protocol):
    """A body that is read piece by piece."""

    async def read(self) -> bytes:
        """The next piece; empty at the end."""
        ...


class Bodies(Protocol):
    """Where large bodies lie (`queue.spool.Spool` is one)."""

    def reader(self, body: Spooled) -> Source:
        """The body from its beginning."""
        ...


class Messenger:
    """Delivers callbacks. It says what happened and decides nothing: not whether to try again, nor when.

    Args:
        settings: `[callback]`; whom it allows, the timeout, the secrets' files.
        names: this daemon's own names, as `guard.own_names` makes them.
        local: delivers to our own functions; it has its own timeouts, `[callback] timeout` is for others.
        spool: gives large bodies.
        resolve: host name to addresses; the system's resolver by default.
        tls: makes the context for https; the system's CA store by default.
        clock: seconds since 1970.

    Raises:
        ConfigError: a secret cannot be read.
    """

    def __init__(
        self,
        *,
        settings: CallbackSettings,
        names: Iterable[str],
        local: Local,
        spool: Bodies,
        resolve: Resolve | None = None,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._local = local
        self._spool = spool
        self._resolve = resolve
        self._make_tls = tls
        self._clock = clock
        self._destinations: Destinations | None = None
        self.reconfigure(settings, names)

    def reconfigure(self, settings: CallbackSettings, names: Iterable[str]) -> None:
        """Apply new settings at once and read the secrets again; running deliveries end as they began.

        Raises:
            ConfigError: a secret cannot be read; all stays as it was.
        """
        self._secrets = load_secrets(settings.secrets)
        self._settings = settings
        self._names = frozenset(names)
        self.close()
        guard = Guard(settings.allow, self._resolve)
        self._destinations = Destinations(guard, settings.timeout, self._make_tls)

    async def deliver(self, call: Call, id: str) -> Outcome:  # noqa: A002 - the field's own word
        """Deliver a callback once; `id` is the queue's id of it, which the receiver sees as `webhook-id`.

        What went wrong is in the outcome: `internal` is GUARD when it was refused, CALLBACK when nobody answered; then
        the body is one sentence. It raises only for what is not a delivery's fault.
        """
        started_at, begun = self._clock(), trio.current_time()
        outcome = await self._deliver(call, id)
        return msgspec.structs.replace(outcome, started_at=started_at, duration=trio.current_time() - begun)

    async def _deliver(self, call: Call, id: str) -> Outcome:  # noqa: A002
        try:
            url = check_url(call.callback_url or "", self._settings.allow, self._names)
            own = is_own(url, self._names)
            with trio.move_on_after(float("inf") if own else self._settings.timeout):
                signed = await self._sign(call, id)
                return await (self._local(signed) if own else self._post(url, signed))
        except (BadOption, AddressRefused) as error:
            return _failed(403, str(error), GUARD)
        except (WireError, FaasdError) as error:
            return _failed(502, str(error))
        return _failed(504, f"no answer within {self._settings.timeout}")

    async def _post(self, url: ParsedUrl, call: Call) -> Outcome:
        assert self._destinations is not None  # noqa: S101 - made by __init__
        sink = Sink()
        await self._destinations.prepare(url)
        try:
            with self._destinations.use(url) as pool:
                await _request(pool.request, url, call, self._spool, sink)
        except Enough:
            pass
        except WireError:
            if not sink.status:
                raise
        return Outcome(status=sink.status, headers=sink.kept())

    async def _sign(self, call: Call, id: str) -> Call:  # noqa: A002
        """The call with the fields of standard-webhooks, as of now."""
        timestamp = int(self._clock())
        lines = f"webhook-id: {id}\r\nwebhook-timestamp: {timestamp}\r\n".encode("ascii")
        if self._secrets:
            signer = Signer(self._secrets, id, timestamp)
            await self._each_piece(call, signer.update)
            lines += b"webhook-signature: " + signer.value() + b"\r\n"
        return msgspec.structs.replace(call, headers=call.headers + lines)

    async def _each_piece(self, call: Call, use: Callable[[bytes], None]) -> None:
        if isinstance(call.body, bytes):
            use(call.body)
            return
        source = self._spool.reader(call.body)
        while piece := await source.read():
            use(piece)

    def tidy(self) -> None:
        """Close connections that nobody used lately; to be called now and then."""
        if self._destinations is not None:
            self._destinations.tidy()

    def close(self) -> None:
        """Close every idle connection."""
        if self._destinations is not None:
            self._destinations.close()


async def _request(
    request: Callable[..., Awaitable[None]], url: ParsedUrl, call: Call, spool: Bodies, sink: Sink
) -> None:
    body = call.body if isinstance(call.body, bytes) else None
    source = spool.reader(call.body) if isinstance(call.body, Spooled) else None
    length = call.body.size if isinstance(call.body, Spooled) else len(call.body)
    lines = b"Host: %s\r\n%sContent-Length: %d\r\n" % (url.field, call.headers, length)
    await request(b"POST", url.target, lines, body, length, source, sink)


def _failed(status: int, reason: str, internal: str = CALLBACK) -> Outcome:
    body = reason.encode()
    return Outcome(status=status, body=body, size=len(body), internal=internal)
