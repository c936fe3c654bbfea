"""`connect`: a client for as long as a block runs, through as many connections as that takes."""

from __future__ import annotations

import contextlib
import logging
import random
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio

from faasd_py_natsclient.client import Client
from faasd_py_natsclient.dial import Opened, dial
from faasd_py_natsclient.errors import AuthRefused, Closed, ConnectFailed, NatsError, TlsRefused
from faasd_py_natsclient.info import ServerInfo
from faasd_py_natsclient.link import Link
from faasd_py_natsclient.options import Options
from faasd_py_natsclient.pool import Pool, Server

log = logging.getLogger("faasd_py_natsclient")


@asynccontextmanager
async def connect(
    servers: Sequence[str],
    *,
    name: str = "",
    user: str | None = None,
    password: str | None = None,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
    tls_first: bool = False,
    reconnect_wait: float = 2.0,
    max_reconnect: int | None = None,
    ping_interval: float = 20.0,
    pings_out: int = 2,
    connect_timeout: float = 5.0,
    close_timeout: float = 2.0,
    max_pending: int = 8 * 1024 * 1024,
    discover: bool = True,
    inbox_prefix: str = "_INBOX",
    wait_first: bool = False,
) -> AsyncIterator[Client]:
    """A client, connected when the block begins.

    Lost servers are the client's own business (`Client.on_disconnected`); the block hears of them only as said below.

    `servers` are `nats://user:password@host:port`, `tls://…`, `nats://token@host` or `host:port`, tried in random order.
    With `wait_first` the block begins without a connection when none is to be had. All else is said in `Options`.

    Raises:
        ConnectFailed: no server could be reached at first (unless `wait_first`).
        TlsRefused: nor with `wait_first`, when TLS was refused at first; after a reconnect it is waited out.
        AuthRefused: a server refused the credentials; also later, out of the block, after a reconnect.
        Closed: out of the block: every server was given up (`max_reconnect`).
        BadServer: an address is none.
        BadSubject, ValueError: an option makes no sense.
    """
    options = Options(
        name=name,
        user=user,
        password=password,
        token=token,
        tls=tls,
        tls_first=tls_first,
        reconnect_wait=reconnect_wait,
        max_reconnect=max_reconnect,
        ping_interval=ping_interval,
        pings_out=pings_out,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
        max_pending=max_pending,
        discover=discover,
        inbox_prefix=inbox_prefix,
    )
    keeper = Keeper(options, Pool(servers, shuffle=random.shuffle))
    first = await keeper.first(wait_first=wait_first)
    try:
        async with _kept(keeper, first) as client:
            yield client
    finally:
        keeper.client.close("the client's block has ended")


@asynccontextmanager
async def _kept(keeper: Keeper, first: Current | None) -> AsyncIterator[Client]:
    """Errors pass through as they are: neither the caller's nor ours are wrapped in a group."""
    raised: BaseException | None = None
    body = trio.CancelScope()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(keeper.run, first, body)
            try:
                with body:
                    yield keeper.client
                    await keeper.leave()
            except BaseException as error:  # noqa: BLE001 - raised again below, outside the nursery
                raised = error
            nursery.cancel_scope.cancel()
    except BaseException:
        if raised is None or _only_cancelled(raised):
            raise
    if raised is not None:
        raise raised
    if body.cancelled_caught and keeper.failure is not None:
        raise keeper.failure


def _only_cancelled(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(trio.Cancelled)[1] is None
    return isinstance(error, trio.Cancelled)


@dataclass(slots=True)
class Current:
    """The server of the moment, and the link to it."""

    server: Server
    link: Link


class Keeper:
    """Keeps one client connected."""

    def __init__(self, options: Options, pool: Pool) -> None:
        self.client = Client(options)
        self.failure: NatsError | None = None
        self._options = options
        self._pool = pool

    async def first(self, *, wait_first: bool) -> Current | None:
        """Each server once. A refusal that waiting does not mend is told before one that it may."""
        problem = ConnectFailed("no servers")
        for server in list(self._pool.servers):
            try:
                return await self._try(server)
            except ConnectFailed as error:
                problem = problem if isinstance(problem, TlsRefused) else error
        if not wait_first or isinstance(problem, TlsRefused):
            raise problem
        log.warning("no NATS server yet: %s", problem)
        return None

    async def run(self, current: Current | None, body: trio.CancelScope) -> None:
        """One connection after another. At the end of all attempts, `failure` is why, and the block is cancelled."""
        try:
            while not self.client.closed:
                await self._serve(current or await self._again())
                current = None
        except (AuthRefused, Closed) as error:
            self.failure = error
            self.client.close(str(error))
            body.cancel()

    async def leave(self) -> None:
        """What was published before the end of the block is sent, if that is possible now."""
        with contextlib.suppress(NatsError):
            await self.client.flush(self._options.close_timeout)

    async def _serve(self, current: Current) -> None:
        client, server, link = self.client, current.server, current.link
        try:
            await link.run()
        finally:
            client.detach(link.reason or "left")
        if not client.closed:
            log.warning("lost the NATS server %s: %s", server, link.reason)
            client.announce(client.on_disconnected)

    def _begin(self, server: Server, opened: Opened) -> Current:
        """From here on the client has a connection."""
        client = self.client
        link = Link(opened, client.outbox, self._options, client.deliver, client.tell)
        client.learn = self._learner(server)
        client.attach(link, opened.info)
        return Current(server, link)

    def _learner(self, server: Server) -> Callable[[ServerInfo], None]:
        def learn(info: ServerInfo) -> None:
            if self._options.discover and info.connect_urls:
                self._pool.discover(info.connect_urls, server)

        return learn

    async def _again(self) -> Current:
        """The next server that lets us in, however long that takes.

        Raises:
            Closed: each has failed too often in a row.
            AuthRefused: one refuses us.
        """
        while True:
            server = self._pool.next(self._options.max_reconnect)
            if server is None:
                raise Closed("no NATS server left to try: each failed too often in a row")
            await trio.sleep_until(max(server.not_before, trio.current_time()))
            try:
                current = await self._try(server)
            except ConnectFailed as error:
                server.failures += 1
                level = logging.INFO if server.failures == 1 else logging.DEBUG
                log.log(level, "no connection to the NATS server %s", error)
            else:
                self.client.reconnects += 1
                log.warning("connected to the NATS server %s again", server)
                self.client.announce(self.client.on_reconnected)
                return current

    async def _try(self, server: Server) -> Current:
        wait = self._options.reconnect_wait * random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
        self._pool.tried(server, trio.current_time() + wait)
        opened = await dial(server, self._options)
        self._pool.reached()
        return self._begin(server, opened)
