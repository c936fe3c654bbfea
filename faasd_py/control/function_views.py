"""Pure. Functions as OpenFaaS' clients are told of them (OpenFaaS wire contract §1.2), and what those send."""

from __future__ import annotations

import platform
from typing import Annotated, Final

import msgspec
from msgspec import Meta

import faasd_py
from faasd_py.config.cron import expressions
from faasd_py.control.daemon import Function
from faasd_py.control.rendering import instant, instant_or_none
from faasd_py.core.deployment import FunctionDeployment, FunctionResources
from faasd_py.runtime.contract import Replicas

NEVER: Final = "0001-01-01T00:00:00Z"
"""A time that is not known, as Go prints it."""
_ARCHITECTURES: Final = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}
Whole = Annotated[int, Meta(ge=0, le=1_000_000)]


class Wire(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Names as OpenFaaS writes them; a field that has its default is left out, and an unknown one ignored."""


class FunctionUsage(Wire, frozen=True, kw_only=True):
    """What a function uses now: `cpu` in thousandths of a core."""

    cpu: float = 0.0
    total_memory_bytes: float = 0.0


class FunctionStatus(Wire, frozen=True, kw_only=True):
    """OpenFaaS' FunctionStatus, and of our own: from `mode` on."""

    name: str
    image: str
    namespace: str
    labels: dict[str, str]
    annotations: dict[str, str]
    created_at: str
    env_process: str = ""
    env_vars: dict[str, str] | None = None
    constraints: list[str] | None = None
    secrets: list[str] | None = None
    limits: FunctionResources | None = None
    requests: FunctionResources | None = None
    read_only_root_filesystem: bool = False
    invocation_count: int = 0
    replicas: int = 0
    available_replicas: int = 0
    usage: FunctionUsage | None = None
    mode: str
    origin: str
    inflight: int
    schedule: tuple[str, ...] = ()
    next_run: str | None = None
    trouble: str = ""


class DeleteFunctionRequest(Wire, frozen=True, kw_only=True):
    """Which one."""

    function_name: str = ""
    namespace: str = ""


class ScaleServiceRequest(Wire, frozen=True, kw_only=True):
    """How many; the name is the path's."""

    service_name: str = ""
    replicas: Whole
    namespace: str = ""


class VersionInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Of a release, which has no commit of its own."""

    sha: str
    release: str


class ProviderInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who runs the functions."""

    provider: str
    version: VersionInfo
    orchestration: str


class GatewayInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What `faas-cli version` shows."""

    provider: ProviderInfo
    version: VersionInfo
    arch: str


def function_status(
    function: Function, next_run: float | None, usage: FunctionUsage | None = None
) -> FunctionStatus:
    """A function as it stands; what was deployed is told as it was sent.

    `next_run` is when its schedule calls it, in seconds since 1970.
    """
    deployment = function.deployment
    sent = _as_sent(function) if deployment is None else deployment
    replicas: Replicas = function.runtime.replicas()
    return FunctionStatus(
        name=function.name,
        namespace=function.namespace,
        image=sent.image,
        labels=sent.labels or {},
        annotations=sent.annotations or {},
        created_at=instant(function.created_at) if function.created_at else NEVER,
        env_process=sent.env_process,
        env_vars=sent.env_vars,
        constraints=sent.constraints,
        secrets=sent.secrets,
        limits=sent.limits,
        requests=sent.requests,
        read_only_root_filesystem=sent.read_only_root_filesystem,
        invocation_count=function.meter.started,
        replicas=replicas.wanted,
        available_replicas=replicas.available,
        usage=usage,
        mode=function.mode,
        origin=function.origin,
        inflight=function.meter.inflight,
        schedule=expressions(function.settings.schedule, function.settings.annotations),
        next_run=instant_or_none(next_run),
        trouble=function.trouble or "",
    )


def gateway_info() -> GatewayInfo:
    """This daemon is gateway and provider."""
    version = VersionInfo(sha="", release=faasd_py.__version__)
    machine = platform.machine()
    return GatewayInfo(
        provider=ProviderInfo(provider="faasd-py", version=version, orchestration="processes"),
        version=version,
        arch=_ARCHITECTURES.get(machine, machine),
    )


def _as_sent(function: Function) -> FunctionDeployment:
    """What config.toml says, as far as a deployment could say it; its environment stays in the file."""
    settings = function.settings
    return FunctionDeployment(
        image=settings.image or "",
        env_process=" ".join(settings.command or ()),
        secrets=settings.secrets or None,
        labels=settings.labels,
        annotations=settings.annotations,
        read_only_root_filesystem=settings.read_only_root,
    )
