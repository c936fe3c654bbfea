"""What every part of the queue uses: connection, API, publisher, names, and the streams as they must be."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
import trio

from faasd_py.api import QueueBroken, QueueSettings, QueueUnavailable, read_secret
from faasd_py_jetstream.api import NO_STORAGE, Api, ApiError
from faasd_py_jetstream.names import Names, bucket, store
from faasd_py_jetstream.publisher import Publisher
from faasd_py_jetstream.settings import WHERE, Options, tls_context
from faasd_py_natsclient import AuthRefused, BadServer, Client, Closed, ConnectFailed, TlsRefused, connect

log: Final = logging.getLogger("faasd_py_jetstream")
NEEDED: Final = (2, 12)
"""The server that first had messages at a given time (NATS ADR-51), and several in one transaction (ADR-50)."""
PATIENCE: Final = 30.0
"""Seconds that a cluster has to elect its leaders when a daemon starts."""


class Context(msgspec.Struct, eq=False):
    """Shared by all parts of one open queue."""

    client: Client
    api: Api
    publisher: Publisher
    names: Names
    options: Options
    settings: QueueSettings
    clock: Callable[[], float]
    created: str = ""
    """When the stream of calls was made: its sequence numbers mean nothing in another one."""


@asynccontextmanager
async def open_context(
    options: Options, settings: QueueSettings, clock: Callable[[], float]
) -> AsyncIterator[Context]:
    """Connected, and with every stream there.

    Raises:
        ConfigError: the options name files that cannot be used.
        QueueBroken: the broker does not let us in, or cannot do what is needed.
        QueueUnavailable: it is not there.
    """
    try:
        async with connect(
            options.servers, name="faasd-py", user=options.user,
            password=read_secret(options.password_file, f"{WHERE}.password_file"),
            token=read_secret(options.token_file, f"{WHERE}.token_file"),
            tls=tls_context(options), tls_first=options.tls_first, reconnect_wait=0.25, ping_interval=5.0, max_pending=32 << 20,
        ) as client:  # fmt: skip
            context = Context(
                client, Api(client, options.domain), Publisher(client),
                Names(options.prefix, options.namespace), options, settings, clock,
            )  # fmt: skip
            await _prepare_patiently(context)
            yield context
    except (AuthRefused, BadServer, Closed, TlsRefused) as error:
        raise QueueBroken(f"queue.options: NATS at {', '.join(options.servers)}: {error}") from error
    except ConnectFailed as error:
        raise QueueUnavailable(f"queue.options.servers: no NATS server answers: {error}") from error


def _version(client: Client) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", client.server_info.version)[:2])


async def _prepare_patiently(context: Context) -> None:
    """As `prepare`, with patience for a cluster that has just started and elects its leaders.

    A server that has no JetStream of its own may reach another's; when it does not, that is told soon.
    """
    own = context.client.server_info.jetstream
    deadline = trio.current_time() + (PATIENCE if own else 0)
    while True:
        try:
            return await prepare(context)
        except QueueUnavailable as error:
            if not own and not isinstance(error, ApiError):
                raise QueueUnavailable(
                    "queue.options.servers: JetStream is not switched on at this NATS server"
                ) from error
            if trio.current_time() >= deadline:
                raise
            log.warning("JetStream is not ready: %s", error)
        await trio.sleep(0.5)


async def prepare(context: Context) -> None:
    """Every stream is there, as it must be.

    Raises:
        QueueBroken: it cannot be. QueueUnavailable: the broker is away.
    """
    if _version(context.client) < NEEDED:
        wanted = ".".join(map(str, NEEDED))
        raise QueueBroken(
            f"nats-server {context.client.server_info.version} is too old for the jetstream backend: {wanted} or newer is needed"
        )
    for stream in streams(context):
        info = await _ensure(context, stream)
        if stream["name"] == context.names.calls:
            context.created = info["created"]
            _check_stream(stream, info["config"])
        try:
            await context.api.update_stream(stream, info["config"])
        except ApiError as error:
            log.warning("the stream %s stays as it is: %s", stream["name"], error)


async def _ensure(context: Context, stream: dict[str, Any]) -> dict[str, Any]:
    try:
        return await context.api.ensure_stream(stream)
    except ApiError as error:
        if error.fault.err_code != NO_STORAGE:
            raise
        raise QueueBroken(
            f"the NATS server has no room for the stream {stream['name']}, which reserves queue.max_results_bytes: "
            f"lower that, or raise the server's max_file_store"
        ) from error


def _check_stream(wanted: dict[str, Any], found: dict[str, Any]) -> None:
    if found.get("retention") != "workqueue" or found.get("subjects") != wanted["subjects"]:
        raise QueueBroken(
            f"the JetStream stream {wanted['name']} is there and is not ours: choose another queue.options.prefix"
        )


def streams(context: Context) -> list[dict[str, Any]]:
    """The configuration of every stream."""
    names, settings, root = context.names, context.settings, context.names.root
    common = {
        "storage": context.options.storage,
        "num_replicas": context.options.replicas,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "allow_rollup_hdrs": True,
        "duplicate_window": int(context.options.duplicate_window * 1e9),
    }
    calls: dict[str, Any] = {
        "name": names.calls,
        "subjects": [f"{root}.call.>", f"{root}.later.>", f"{root}.ended.>"],
        "retention": "workqueue",
        "discard": "old",
        "allow_msg_schedules": True,
        "allow_atomic": True,
    }
    kept: dict[str, Any] = {"max_msgs_per_subject": 1, "discard": "old", "duplicate_window": 10**9}
    bodies = names.bodies
    return [
        common | calls,
        common | {"name": names.dead, "subjects": [f"{root}.dead.>"]},
        common | kept | {"name": bucket(names.state), "subjects": [f"$KV.{names.state}.>"]},
        common
        | kept
        | {
            "name": bucket(names.results),
            "subjects": [f"$KV.{names.results}.>"],
            "max_bytes": int(settings.max_results_bytes),
        },
        common | {"name": store(bodies), "subjects": [f"$O.{bodies}.C.>", f"$O.{bodies}.M.>"]},
    ]
