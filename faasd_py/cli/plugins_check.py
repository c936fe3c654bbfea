"""`faasd-py plugins check`: the life cycle of one call, on the configured backend."""

from __future__ import annotations

import argparse
import time
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import trio

from faasd_py import plugins
from faasd_py.cli.errors import Failed
from faasd_py.cli.plugins import settings_or_defaults
from faasd_py.cli.terminal import say, say_json
from faasd_py.config import Config
from faasd_py.core.call import Call, Lease
from faasd_py.core.errors import ConfigError, FaasdError
from faasd_py.core.outcome import DONE, Outcome
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.contract import Queue

LANE: Final = "faasd-py-check"
PATIENCE: Final = 20.0
"""Seconds for the whole life cycle."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """That it works, and how long each step took, in seconds."""

    backend: str
    plugin: str
    opened: float
    put: float
    leased: float
    settled: float


def run(options: argparse.Namespace) -> int:
    """Load, open, try."""
    config = settings_or_defaults(options)
    loaded = plugins.load(config)
    backend = loaded.queue(config)
    loaded.check_modes(config.functions)
    loaded.check_services(config.services)
    report = trio.run(_try, config, backend, strict_exception_groups=True)
    if options.json:
        say_json(report)
    else:
        steps = ", ".join(
            f"{step} {getattr(report, step) * 1000:.1f} ms" for step in ("opened", "put", "leased", "settled")
        )
        say(f"OK: {report.backend} (plug-in {report.plugin}): {steps}")
    return 0


async def _try(config: Config, backend: plugins.Backend) -> Report:
    with TemporaryDirectory(prefix="faasd-py-check-") as directory:
        site = QueueSite(
            settings=config.queue, directory=Path(directory) / "queue", spool=Path(directory) / "spool"
        )
        site.directory.mkdir()
        site.spool.mkdir()
        try:
            with trio.fail_after(PATIENCE):
                return await _open(config, backend, site)
        except trio.TooSlowError:
            raise Failed(
                f"queue backend {config.queue.backend}: nothing came of it in {PATIENCE:g} s"
            ) from None
        except BaseExceptionGroup as group:
            ours, rest = group.split(FaasdError)
            if rest is not None or ours is None:
                raise
            raise Failed(f"queue backend {config.queue.backend}: {_first(ours)}") from group
        except ConfigError:
            raise
        except FaasdError as error:
            raise Failed(f"queue backend {config.queue.backend}: {error}") from error


async def _open(config: Config, backend: plugins.Backend, site: QueueSite) -> Report:
    start = time.perf_counter()
    async with backend.open(site) as queue:
        moments = [start, time.perf_counter()]
        accepted = await queue.put(Call(lane=LANE, body=b"check", accepted_at=time.time()))
        moments.append(time.perf_counter())
        lease = await _lease(queue, accepted.id)
        moments.append(time.perf_counter())
        await queue.start(lease)
        await queue.settle(lease, DONE, Outcome(status=200, started_at=time.time()))
        await queue.flush()
        moments.append(time.perf_counter())
    opened, put, leased, settled = (after - before for before, after in pairwise(moments))
    return Report(
        backend=config.queue.backend,
        plugin=backend.plugin,
        opened=opened,
        put=put,
        leased=leased,
        settled=settled,
    )


async def _lease(queue: Queue, call: str) -> Lease:
    """Our own call; what an earlier check left behind in the lane is finished on the way."""
    while True:
        await queue.wait_ready(LANE)
        lease = queue.lease_nowait(LANE)
        if lease is not None and lease.id == call:
            return lease
        if lease is not None:
            await queue.start(lease)
            await queue.settle(lease, DONE)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
