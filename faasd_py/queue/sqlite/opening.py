"""Opening the file: what was running when the daemon died is READY again, what was damaged is salvaged, or said."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import apsw
import msgspec

from faasd_py.config import QueueSettings
from faasd_py.core.errors import QueueBroken
from faasd_py.core.lifecycle import State
from faasd_py.hookspecs import QueueSite
from faasd_py.queue.keys import Keys
from faasd_py.queue.spool import BodyStore, Spool, sync_directory
from faasd_py.queue.sqlite import schema
from faasd_py.queue.sqlite.ballast import Ballast
from faasd_py.queue.sqlite.refill import oldest
from faasd_py.queue.sqlite.salvage import salvage
from faasd_py.queue.sqlite.store import Store
from faasd_py.queue.sqlite.upkeep import next_due

FILE: Final = "queue.sqlite"
_RECOVER: Final = f"UPDATE calls SET state = {State.READY:d}, flags = flags | {schema.CRASHED} WHERE state = {State.LEASED:d}"
logger: Final = logging.getLogger("faasd_py.queue")


class Opened(msgspec.Struct, frozen=True):
    """The store, and how it was left: lanes as (name, ready, delayed, dead, bytes, key of the oldest READY call)."""

    path: Path
    store: Store
    ballast: Ballast
    lanes: list[tuple[str, int, int, int, int, int | None]]
    next_due: float | None
    quarantined: int

    def damaged(self, text: str) -> None:
        """Leave word for the next start that the file is damaged."""
        with suppress(OSError):
            _marker(self.path).write_text(text)


def open_store(site: QueueSite, clock: Callable[[], float]) -> Opened:
    """Open or make the store of a site. Blocks.

    Raises:
        QueueBroken: it cannot be used; the text names the file and says why.
    """
    site.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = site.directory / FILE
    new = not path.exists()
    ballast = Ballast(site.directory / "reserve")
    if _marker(path).exists():
        _salvage(path)
    try:
        opened = _open(path, site, ballast, clock)
    except apsw.CorruptError as error:
        logger.error("%s: is damaged: %s", path, error)  # noqa: TRY400 - a sentence, not a traceback
        _salvage(path)
        opened = _explained(path, site, ballast, clock)
    if new:
        sync_directory(site.directory)
        sync_directory(site.directory.parent)
    Spool(site.spool).sweep()
    return opened


def _salvage(path: Path) -> None:
    try:
        salvage(path)
    except apsw.Error as error:
        raise _broken(path, error) from error
    _marker(path).unlink(missing_ok=True)


def _open(path: Path, site: QueueSite, ballast: Ballast, clock: Callable[[], float]) -> Opened:
    try:
        return _once(path, site, ballast, clock)
    except (apsw.FullError, apsw.IOError, apsw.CantOpenError):  # each may mean that the disk is full
        ballast.release()
        return _explained(path, site, ballast, clock)
    except apsw.CorruptError:
        raise
    except apsw.Error as error:
        raise _broken(path, error) from error


def _explained(path: Path, site: QueueSite, ballast: Ballast, clock: Callable[[], float]) -> Opened:
    try:
        return _once(path, site, ballast, clock)
    except apsw.Error as error:
        raise _broken(path, error) from error


def _broken(path: Path, error: Exception) -> QueueBroken:
    if isinstance(error, apsw.NotADBError):
        return QueueBroken(f"{path}: is not a database; move it away, or put the right file in its place")
    return QueueBroken(f"{path}: cannot be opened: {error}")


def _once(path: Path, site: QueueSite, ballast: Ballast, clock: Callable[[], float]) -> Opened:
    connection = schema.connect(path)
    try:
        schema.prepare(connection, path)
        return _recover(connection, path, site, ballast, clock)
    except BaseException:
        connection.close()
        raise


def _recover(
    connection: apsw.Connection, path: Path, site: QueueSite, ballast: Ballast, clock: Callable[[], float]
) -> Opened:
    with connection:
        connection.execute(_RECOVER)
        connection.execute("UPDATE lanes SET ready = ready + leased, leased = 0 WHERE leased")
    body_store = BodyStore(site.directory / "bodies")
    _sweep(connection, body_store)
    store = _store(connection, body_store, site.settings, clock)
    store.figures.kept = _one(connection, "SELECT ifnull(sum(kept), 0) FROM lanes")
    found: list[Any] = connection.execute(
        "SELECT id, name, ready, delayed, dead, bytes FROM lanes WHERE ready OR delayed OR dead OR bytes"
    ).fetchall()
    lanes = [(*row, oldest(connection.execute, number, (-1, 0))) for number, *row in found]
    quarantined = _one(connection, "SELECT count(*) FROM quarantine")
    return Opened(path, store, ballast, lanes, next_due(store), quarantined)


def _store(
    connection: apsw.Connection, body_store: BodyStore, settings: QueueSettings, clock: Callable[[], float]
) -> Store:
    node = _one(connection, "SELECT value FROM meta WHERE name = 'node'")
    last = _one(
        connection, "SELECT max(value, ifnull((SELECT max(key) FROM calls), 0)) FROM meta WHERE name = 'last'"
    )
    return Store(connection, body_store, Keys(node, last), clock, settings.idempotency_window)


def _sweep(connection: apsw.Connection, body_store: BodyStore) -> None:
    """Remove the files of bodies that nobody needs: the crash came between the commit and their removal."""
    for key in body_store.present():
        row = connection.execute(
            "SELECT state FROM calls WHERE key = ? AND flags & ?", (key, schema.SPOOLED)
        ).fetchone()
        if row is None or row[0] in {State.DONE, State.CANCELLED}:
            body_store.remove(key)


def _one(connection: apsw.Connection, statement: str) -> Any:
    return connection.execute(statement).get


def _marker(path: Path) -> Path:
    return path.with_name(f"{path.name}.damaged")
