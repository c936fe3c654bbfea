"""Deploy, update, remove, scale: what the REST API asks of functions. Each change is on disk and in force when it returns."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import msgspec
import trio

from faasd_py.config import FunctionSettings
from faasd_py.core import names
from faasd_py.core.deployment import FunctionDeployment
from faasd_py.core.errors import BadRequest, Conflict, NotFound
from faasd_py.deploy.deployments import Deployment, Deployments
from faasd_py.deploy.images import IMAGE, Images, settings_of
from faasd_py.deploy.namespaces import Namespaces
from faasd_py.deploy.secrets import Secrets
from faasd_py.observe.events import Events
from faasd_py.runtime.function import Function
from faasd_py.runtime.registry import Registry
from faasd_py.runtime.wanted import Wanted, reworded

_log: Final = logging.getLogger("faasd_py.deploy")


class Deployer:
    """The deployed functions of a daemon."""

    def __init__(
        self,
        *,
        registry: Registry,
        deployments: Deployments,
        namespaces: Namespaces,
        secrets: Secrets,
        images: Images,
        events: Events,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._images = images
        self._registry = registry
        self._deployments = deployments
        self._namespaces = namespaces
        self._secrets = secrets
        self._events = events
        self._clock = clock
        self._damaged: dict[str, str] = {}
        self._coming: Counter[str] = Counter()

    async def restore(self) -> None:
        """Open what was deployed in an earlier life; what cannot be opened is in trouble, and is tried again.

        Raises:
            OSError: the directory cannot be used.
        """
        found = await trio.to_thread.run_sync(self._deployments.load)
        self._damaged = {one.label: one.damage for one in found if one.damage}
        await self._registry.restore([self._fitted(_wanted(one)) for one in found])
        if found:
            _log.info("%d deployed functions are restored", len(found))

    async def reconfigure(self, images: Images) -> None:
        """From here on these are the templates, also of what is deployed: what changes is exchanged."""
        if list(images.items()) != list(self._images.items()):  # their order counts
            self._images = images
            await self._registry.refit(self._fitted)

    def _fitted(self, wanted: Wanted) -> Wanted:
        """The same with what its image means now; one that nothing runs any more is in trouble."""
        assert wanted.deployment is not None  # noqa: S101 - only what is deployed has an image
        trouble = self._damaged.get(wanted.label, "")
        settings = FunctionSettings(image=wanted.deployment.image, mode=IMAGE)
        if not trouble:
            try:
                settings = self._settings(wanted.name, wanted.deployment)
            except BadRequest as error:
                trouble = reworded(str(error), wanted.name, wanted.label)
        return msgspec.structs.replace(wanted, settings=settings, trouble=trouble)

    def where(self, service: str, namespace: str) -> tuple[str, str]:
        """`(name, namespace)` of `NAME` or `NAME.NAMESPACE`, and a namespace beside it, or none: then the default one.

        Raises:
            BadRequest: it is no name, or there is no such namespace.
        """
        name, suffix = names.split(service, namespace or self._registry.namespace)
        if namespace and suffix != namespace:
            raise BadRequest(f"the name {service[:80]!r} is of another namespace than {namespace[:80]!r}")
        if suffix not in self._namespaces:
            raise BadRequest(f"namespace not valid: there is no namespace {suffix[:80]!r}")
        try:
            return names.check(name), suffix
        except ValueError as error:
            raise BadRequest(str(error)) from None

    def find(self, service: str, namespace: str) -> Function:
        """A function, wherever it is from.

        Raises:
            BadRequest: as `where`.
            NotFound: there is none of that name.
        """
        label = ".".join(self.where(service, namespace))
        function = self._registry.lane(label)
        if function is None:
            raise NotFound(f"function {label} not found")
        return function

    def in_use(self, namespace: str) -> str | None:
        """Why a namespace must stay: it has functions, or one is just being deployed; None when it may go."""
        found = [function.name for function in self._registry.functions() if function.namespace == namespace]
        if found:
            return f"namespace {namespace} has functions: {', '.join(found[:5])}"
        return f"a function is being deployed in namespace {namespace}" if self._coming[namespace] else None

    async def deploy(self, sent: FunctionDeployment, namespace: str, *, update: bool = False) -> None:
        """Deploy a function, or replace it; with `update` it must be there. On stable storage when this returns.

        Raises:
            BadRequest: it cannot be run as it was sent; the old one stays in force.
            NotFound: it is to be updated, and not there.
            Conflict: config.toml has it.
            StoreFailed: the disk would not take it; the old one stays in force.
        """
        name, namespace = self.where(sent.service, namespace)
        label = f"{name}.{namespace}"
        if missing := self._secrets.missing(sent.secrets or [], namespace):
            raise BadRequest(f"unable to find secret: {missing}")
        with self._expecting(namespace):
            async with self._registry.turn(label):
                self._changeable(label)
                old = self._registry.deployed(label)
                if old is None and update:
                    raise NotFound(f"function: {label} not found")
                try:
                    await self._replace(name, namespace, sent, old)
                except BadRequest as error:
                    self._refused(label, sent.image, old is not None, str(error))
                    raise
        if old is None:
            self._events.emit("function.deployed", function=label, image=sent.image)
        else:
            self._events.emit("function.updated", function=label, image=sent.image)
        _log.info("%s is %s: %s", label, "updated" if old else "deployed", sent.image)

    def _refused(self, label: str, image: str, update: bool, reason: str) -> None:
        self._events.emit("function.refused", function=label, image=image, update=update, reason=reason)
        _log.warning("%s is not %s: %s", label, "updated" if update else "deployed", reason)

    async def _replace(self, name: str, namespace: str, sent: FunctionDeployment, old: Wanted | None) -> None:
        label = f"{name}.{namespace}"
        try:
            settings = self._settings(name, sent)
        except BadRequest as error:
            raise BadRequest(reworded(str(error), name, label)) from None
        kept = Deployment(
            name=name,
            namespace=namespace,
            sent=sent,
            created_at=old.created_at if old and old.created_at else self._clock(),
            replicas=old.replicas if old else None,
        )
        wanted = msgspec.structs.replace(_wanted(kept), settings=settings)
        await self._registry.deploy(wanted, lambda: self._deployments.put(kept))
        self._damaged.pop(label, None)

    async def remove(self, service: str, namespace: str) -> None:
        """Take a deployed function away; it stays away, and its running calls finish.

        Raises:
            BadRequest: as `where`.
            NotFound: there is none of that name.
            Conflict: config.toml has it.
            StoreFailed: the disk would not have it.
        """
        name, namespace = self.where(service, namespace)
        label = f"{name}.{namespace}"
        async with self._registry.turn(label):
            self._changeable(label)
            if self._registry.deployed(label) is None:
                raise NotFound(f"function {label} not found")
            await self._registry.remove(label, lambda: self._deployments.remove(name, namespace))
            self._damaged.pop(label, None)
        self._events.emit("function.removed", function=label)
        _log.info("%s is removed", label)

    async def scale(self, service: str, namespace: str, replicas: int) -> None:
        """Ask for so many replicas: of a deployed function for good, of config.toml's until the daemon ends.

        Raises:
            BadRequest: as `where`, or it has no replicas that could be more or fewer.
            NotFound: there is none of that name.
            StoreFailed: the disk would not take it.
        """
        label = ".".join(self.where(service, namespace))
        async with self._registry.turn(label):
            function = self.find(label, "")
            if trouble := self._damaged.get(label):
                raise BadRequest(f"function {label}: {trouble}")
            if replicas != 1 and function.trouble is None and not hasattr(function.runtime, "scale"):
                raise BadRequest(f"function {label}: mode {function.mode!r} has no replicas to scale")
            deployed = self._registry.deployed(label)
            if deployed is not None and not self._registry.configured(label):
                await self._deployments.put(_kept(deployed, replicas))
            self._registry.scale(label, replicas)
        self._events.emit("function.scaled", function=label, replicas=replicas)

    def _settings(self, name: str, sent: FunctionDeployment) -> FunctionSettings:
        return settings_of(name, sent, self._images, self._registry.modes.keys())

    def _changeable(self, label: str) -> None:
        if self._registry.configured(label):
            raise Conflict(f"function {label} is one of config.toml's: it is changed there, not here")

    @contextmanager
    def _expecting(self, namespace: str) -> Iterator[None]:
        """Nobody removes the namespace meanwhile."""
        self._coming[namespace] += 1
        try:
            yield
        finally:
            self._coming[namespace] -= 1
            self._coming += Counter()  # what is 0 is forgotten


def _wanted(kept: Deployment) -> Wanted:
    return Wanted(
        name=kept.name,
        namespace=kept.namespace,
        settings=FunctionSettings(),
        created_at=kept.created_at,
        deployment=kept.sent,
        replicas=kept.replicas,
    )


def _kept(wanted: Wanted, replicas: int) -> Deployment:
    assert wanted.deployment is not None  # noqa: S101 - it is deployed
    return Deployment(
        name=wanted.name,
        namespace=wanted.namespace,
        sent=wanted.deployment,
        created_at=wanted.created_at,
        replicas=replicas,
    )
