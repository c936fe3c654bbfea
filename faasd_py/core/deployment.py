"""Pure. What OpenFaaS clients ask for when they deploy a function (OpenFaaS wire contract §1.2)."""

from __future__ import annotations

import msgspec


class FunctionResources(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """Limits or requests: Kubernetes quantities, `128Mi` of memory, `100m` of a core."""

    memory: str = ""
    cpu: str = ""
    nvidia_gpu: str = msgspec.field(default="", name="nvidia.com/gpu")
    amd_gpu: str = msgspec.field(default="", name="amd.com/gpu")
    intel_gpu: str = msgspec.field(default="", name="intel.com/gpu")


class FunctionDeployment(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """The body of POST and PUT `/system/functions`. What is absent or null says nothing."""

    service: str = ""
    image: str = ""
    namespace: str = ""
    env_process: str = ""
    env_vars: dict[str, str] | None = None
    constraints: list[str] | None = None
    secrets: list[str] | None = None
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    limits: FunctionResources | None = None
    requests: FunctionResources | None = None
    read_only_root_filesystem: bool = False
