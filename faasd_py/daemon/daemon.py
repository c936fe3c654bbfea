"""The rooms side by side: they serve until somebody says stop, then they end in the order in which a call passes them.

Stop: the doors close → running requests end → workers finish, or hand back their leases when the grace is over → the
queue is flushed → functions stop. A second signal ends the waiting at once; nothing that was answered 202 is lost.
"""

from __future__ import annotations

import gc
import logging
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from faasd_py.auth import keys
from faasd_py.callback.guard import own_names
from faasd_py.callback.messenger import Messenger
from faasd_py.config import Config, GatewaySettings, load
from faasd_py.control.serve import GRACE, serve_control
from faasd_py.core.errors import BootError, ConfigError, FaasdError, QueueError
from faasd_py.daemon import descriptors
from faasd_py.daemon.certificate import open_certificate
from faasd_py.daemon.changes import follow
from faasd_py.daemon.notify import Notifier
from faasd_py.daemon.rooms import Rooms
from faasd_py.daemon.sockets import name_of
from faasd_py.gateway import headers
from faasd_py.gateway.admission import Rates
from faasd_py.gateway.cancel import Cancel
from faasd_py.gateway.door import Control, Door
from faasd_py.gateway.enqueue import Enqueue, Terms
from faasd_py.gateway.gate import Gate
from faasd_py.gateway.hangup import Hangups
from faasd_py.gateway.invoke import Invoke
from faasd_py.gateway.local import Local
from faasd_py.hookspecs import ServiceSite
from faasd_py.http.client import Pool, dial_unix
from faasd_py.http.limits import Limits
from faasd_py.http.server import Server
from faasd_py.observe import log
from faasd_py.schedule.record import Record
from faasd_py.schedule.scheduler import Scheduler
from faasd_py.worker import paused
from faasd_py.worker.lent_queue import LentQueue
from faasd_py.worker.paused import open_paused
from faasd_py.worker.workers import Workers

METRICS_PATHS: Final = frozenset({b"/metrics", b"/healthz"})
AT_START_ONLY: Final = ("state", "plugins", "services", "runtimes", "metrics", "queue")
"""Tables whose changes wait for the next start."""
AFTER_GRACE: Final = 30.0
"""Seconds that a stop may take when the grace is over: attempts end, the queue is flushed, functions stop."""
_log: Final = logging.getLogger("faasd_py.daemon")


class Sockets(msgspec.Struct, frozen=True):
    """The listening sockets, by door."""

    gateway: Sequence[socket.socket]
    metrics: Sequence[socket.socket]


class Daemon:
    """One daemon's rooms. What the control plane may see: queue, workers, registry, metrics, config, health, reload."""

    def __init__(self, *, path: Path, config: Config, notifier: Notifier, rooms: Rooms) -> None:
        self.config = config
        self.registry = rooms.registry
        self.queue = rooms.queue
        self.metrics = rooms.metrics
        self.events = rooms.events
        self.keyring = rooms.keyring
        self.namespaces = rooms.namespaces
        self.secrets = rooms.secrets
        self.logbook = rooms.logbook
        self.deployer = rooms.deployer
        self._path = path
        self._spool = rooms.spool
        self._plugins = rooms.plugins
        self._confines = rooms.confines
        self._notifier = notifier
        self._runtime = Path(config.state.runtime_directory)
        self._state = Path(config.state.directory)
        self._rates = Rates()
        self._gate = Gate(self.keyring, config.auth, self.metrics.auth_failed, _names(config))
        self._enqueue = Enqueue(
            self.registry,
            self.queue,
            self._spool,
            self._rates,
            self.metrics,
            _terms(config),
            self.events,
            self._gate,
        )
        self._messenger = Messenger(
            settings=config.callback,
            names=self._enqueue.terms.own_names,
            local=Local(self.registry, self._enqueue, self._spool),
            spool=self._spool,
        )
        self.workers = self._make_workers()
        self.scheduler = self._make_scheduler()
        self._hangups = Hangups()
        self._pool = Pool(dial_unix(str(self._runtime / "control.sock"), timeout=5.0))
        limits = _limits(config.gateway)
        self._server = Server(self._make_door(), limits, fields=headers.WANTED, tls=_tls(config.gateway))
        self._metrics_server = Server(Control(self._pool, METRICS_PATHS, hangups=self._hangups), limits)
        self.metrics.connections = lambda: self._server.connections
        self.metrics.paused = self.workers.paused.since
        self._stop = trio.Event()
        self._doors_closed = trio.Event()
        self._closing = trio.Event()
        self._closed = trio.Event()
        self._reloading = trio.Lock()

    def _make_workers(self) -> Workers:
        return Workers(
            self.queue,
            registry=self.registry,
            messenger=self._messenger,
            spool=self._spool,
            metrics=self.metrics,
            events=self.events,
            settings=self.config.workers,
            queue_settings=self.config.queue,
            callback_settings=self.config.callback,
            paused=open_paused(self._state / paused.NAME),
        )

    def _make_scheduler(self) -> Scheduler:
        schedules = self._state / "schedules"
        schedules.mkdir(mode=0o700, parents=True, exist_ok=True)
        accept, capabilities = self._enqueue.accept, self.queue.capabilities
        return Scheduler(self.registry, accept, capabilities, Record(schedules), self.metrics)

    def _make_door(self) -> Door:
        return Door(
            Invoke(self.registry, self._rates, self._gate),
            self._enqueue,
            Cancel(self.queue, self.workers.cancel, self.registry, self.events, self._gate),
            Control(self._pool, gate=self._gate, hangups=self._hangups),
            self.metrics,
        )

    async def live(self, sockets: Sockets, signals: AsyncIterator[int]) -> None:
        """Serve until a signal asks to stop; returns when nothing runs any more."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._heed, signals, nursery)
            await self._serve(sockets)
            nursery.cancel_scope.cancel()

    async def _serve(self, sockets: Sockets) -> None:
        self._say_what_waits()
        async with trio.open_nursery() as rooms:
            refresh = (self.workers.refresh, self.scheduler.refresh)
            rooms.start_soon(follow, self.registry, self.metrics, self._rates, *refresh)
            await self._start_services(rooms)  # before the workers: a service may claim lanes
            await rooms.start(self.workers.run)
            rooms.start_soon(self._hangups.run)
            await rooms.start(self._run_doors, sockets)
            await rooms.start(self._keep_control)
            await rooms.start(self.scheduler.run)
            rooms.start_soon(self._notifier.watch)
            self._notifier.ready(f"serving {len(self.registry.functions())} functions")
            _log.info("ready: listening on %s", ", ".join(map(name_of, sockets.gateway)))
            await self._stop.wait()
            await self._drain()
            await self._close_control()
            rooms.cancel_scope.cancel()

    def _say_what_waits(self) -> None:
        """What an operator wants to know first after a crash: nothing is gone."""
        lanes = self.queue.stats().lanes.values()
        waiting, dead = sum(lane.ready + lane.delayed for lane in lanes), sum(lane.dead for lane in lanes)
        if waiting or dead:
            _log.info("from before: %d calls wait and will run, %d dead letters are kept", waiting, dead)

    async def _start_services(self, rooms: trio.Nursery) -> None:
        """The tasks of plug-ins, one after the other, each ready before the next; a stop cancels them."""
        for name, options in self.config.services.items():
            directory = self._state / "services" / name
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            site = ServiceSite(
                options=options,
                queue=LentQueue(self.queue, self.workers.paused),
                spool=self._spool,
                directory=directory,
                claim_lanes=self.workers.claim_lanes,
            )
            await rooms.start(partial(self._plugins.services[name].run, site))

    async def _run_doors(self, sockets: Sockets, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            await nursery.start(self._server.run, sockets.gateway)
            if sockets.metrics:
                await nursery.start(self._metrics_server.run, sockets.metrics)
            task_status.started()
        self._doors_closed.set()

    async def _keep_control(self, task_status: trio.TaskStatus[None]) -> None:
        """No call needs the control plane: when it fails it is set up again, and calls go on.

        Raises:
            BootError: its sockets cannot be had at the start.
        """
        status: trio.TaskStatus[None] = task_status
        while not self._closing.is_set():
            try:
                # what is there by then lasts: a full collection over all of it would hold up every call for 20 ms
                await serve_control(
                    self,
                    self._runtime,
                    stop=self._closing.wait,
                    confines=self._confines,
                    imported=gc.freeze,
                    task_status=status,
                )
            except Exception as error:
                if isinstance(error, BootError) and status is task_status:
                    raise
                _log.exception("the control plane failed; it is started again")
                with trio.move_on_after(1):
                    await self._closing.wait()
            status = trio.TASK_STATUS_IGNORED
        self._closed.set()

    async def _close_control(self) -> None:
        """Last, with whole answers: who followed a log on the private socket has its end."""
        self._closing.set()
        self._pool.close_idle()
        with trio.move_on_after(GRACE + 1):
            await self._closed.wait()

    async def _heed(self, signals: AsyncIterator[int], nursery: trio.Nursery) -> None:
        """TERM and INT: stop, the second at once. HUP: reload."""
        async for number in signals:
            if number == signal.SIGHUP:
                nursery.start_soon(self.reload)
            elif self._stop.is_set():
                _log.warning("%s again: stopping at once", signal.Signals(number).name)
                nursery.cancel_scope.cancel()
            else:
                _log.info("%s: stopping within %s", signal.Signals(number).name, self.config.workers.grace)
                self._stop.set()
                self.events.emit("daemon.stopping")

    async def _drain(self) -> None:
        grace = self.config.workers.grace
        self._notifier.stopping("draining", within=grace + AFTER_GRACE)
        self.scheduler.stop()
        self._enqueue.draining = True
        self.logbook.end_follows()
        self._server.drain()
        self._metrics_server.drain()
        with trio.move_on_after(grace) as patience:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.workers.drain, grace)
                await self._doors_closed.wait()
        if patience.cancelled_caught:
            _log.warning("the grace of %s is over: what still runs is stopped and will run again", grace)
            await self.workers.drain(0)
        with trio.move_on_after(10):
            try:
                await self.queue.flush()
            except QueueError as error:
                _log.warning("%s; it may run again", error)

    @property
    def stopping(self) -> bool:
        """Somebody asked it to stop: nobody is to wait for anything any more."""
        return self._stop.is_set()

    def health(self) -> str | None:
        """Why the daemon cannot do its work now, in one sentence; None when it can."""
        if self._stop.is_set():
            return "stopping"
        return self.queue.trouble()

    async def reload(self) -> str | None:
        """Read config.toml again; what is wrong with it in one sentence (then all stays as it was), else None."""
        async with self._reloading:
            self._notifier.reloading("reading the configuration")
            try:
                await self._apply(load(self._path))
            except FaasdError as error:
                _log.error("reload refused, the old configuration stays in force: %s", error)
                self.events.emit("config.refused", reason=str(error))
                return str(error)
            finally:
                self._notifier.ready(f"serving {len(self.registry.functions())} functions")
        _log.info("reloaded: %d functions", len(self.config.functions))
        self.events.emit("config.reloaded", functions=len(self.config.functions))
        return None

    async def _apply(self, new: Config) -> None:
        """Check everything first, then put it in force."""
        self._plugins.check_modes(new.functions)
        self._check_functions(new)
        tls = _tls(new.gateway)
        new = self._keep_until_restart(new)
        terms = _terms(new)
        async with self.keyring.turn:
            read = partial(keys.load, new.auth, Path(new.state.directory), os.environ)
            found = await trio.to_thread.run_sync(read)
            self._messenger.reconfigure(new.callback, terms.own_names)
            self.keyring.use(found)
            self._gate.reconfigure(new.auth, _names(new))
        self._enqueue.terms = terms
        self.config = new
        log.setup(new.log)
        self.logbook.reconfigure(new.logs)
        limits = _limits(new.gateway)
        self._server.set_limits(limits)
        self._metrics_server.set_limits(limits)
        if tls is not None:
            self._server.set_tls(tls)
        self.workers.reconfigure(new.workers, new.callback)
        await self.registry.apply(new.functions)
        await self.deployer.reconfigure(new.images)

    def _check_functions(self, new: Config) -> None:
        """What was touched can be run; what was not may be in trouble, as before.

        Raises:
            ConfigError: a new or changed function would be opened in vain.
        """
        old = self.config.functions
        touched = {name: function for name, function in new.functions.items() if function != old.get(name)}
        for problem in self.registry.problems(touched):
            raise ConfigError(f"{self._path}: {problem}")

    def _keep_until_restart(self, new: Config) -> Config:
        kept = {name: getattr(self.config, name) for name in AT_START_ONLY}
        changed = [name for name, value in kept.items() if getattr(new, name) != value]
        old = self.config.gateway
        fixed = {"listen": old.listen, "namespace": old.namespace}
        changed += [f"gateway.{name}" for name, value in fixed.items() if getattr(new.gateway, name) != value]
        if (old.tls is None) is not (new.gateway.tls is None):
            fixed["tls"] = old.tls  # type: ignore[assignment]
            changed.append("gateway.tls")
        if changed:
            _log.warning("changed, but in force only after a restart: %s", ", ".join(changed))
        gateway = msgspec.structs.replace(new.gateway, **fixed)
        return msgspec.structs.replace(new, gateway=gateway, **kept)


def _names(config: Config) -> Sequence[str]:
    """The hosts under which the gateway is known: those of the settings, and this machine's own."""
    return (*config.gateway.names, os.uname().nodename)


def _terms(config: Config) -> Terms:
    return Terms(
        max_body=config.gateway.max_body,
        allow=tuple(config.callback.allow),
        own_names=own_names(config.gateway.names, config.gateway.listen),
    )


def _limits(gateway: GatewaySettings) -> Limits:
    connections = descriptors.affordable(gateway.max_connections, descriptors.limit())
    if connections < gateway.max_connections:
        _log.warning(
            "gateway.max_connections: %d at once, for this process may have %d descriptors (ulimit -n, LimitNOFILE=)",
            connections,
            descriptors.limit(),
        )
    return Limits(
        max_connections=connections,
        max_head=gateway.max_head,
        max_headers=gateway.max_headers,
        head_timeout=gateway.head_timeout,
        idle_timeout=gateway.idle_timeout,
        read_timeout=gateway.read_timeout,
        write_timeout=gateway.write_timeout,
    )


def _tls(gateway: GatewaySettings) -> ssl.SSLContext | None:
    """The server's TLS context; None without `[gateway.tls]`; raises as `open_certificate`."""
    return None if gateway.tls is None else open_certificate(gateway.tls)
