"""A hub in this process, with a queue behind it, and spokes to it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from faasd_py.api import QueueSite, ServiceSite, Spool, open_memory_queue, open_sqlite_queue
from faasd_py_nng import open_queue, service

BACKENDS = {"memory": open_memory_queue, "sqlite": open_sqlite_queue}
EVERYTHING = ["*", "callback:*"]


@asynccontextmanager
async def open_hub(site: QueueSite, backend: str = "sqlite", **options: Any):
    """A hub over a queue of its own below `site.directory`; gives that queue."""
    root = site.directory / "hub"
    for name in ("spool", "service"):
        (root / name).mkdir(parents=True, exist_ok=True)
    settings = msgspec.structs.replace(site.settings, options={})
    own = QueueSite(settings=settings, directory=root / "queue", spool=root / "spool")
    async with BACKENDS[backend](own) as queue, trio.open_nursery() as nursery:
        options = {"listen": [address_of(site.directory)], "lanes": EVERYTHING} | options
        place = ServiceSite(
            options=options, queue=queue, spool=Spool(root / "spool"), directory=root / "service"
        )
        await nursery.start(lambda task_status: service.run(place, task_status=task_status))
        yield queue
        nursery.cancel_scope.cancel()


def address_of(directory: Path) -> str:
    """Short enough for a unix socket."""
    return f"ipc://{directory}/hub.ipc"


def spoke_site(directory: Path, spool: Path, settings: Any, **options: Any) -> QueueSite:
    """Where a spoke is opened."""
    spool.mkdir(parents=True, exist_ok=True)
    return QueueSite(
        settings=msgspec.structs.replace(settings, options=options), directory=directory, spool=spool
    )


@pytest.fixture
def hub():
    """The above, for tests."""
    return open_hub


@pytest.fixture
def spoke():
    """Opens a spoke."""
    return open_queue
