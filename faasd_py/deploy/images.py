"""Pure. What a deployment's image means here: a template of `[images]`, else a plug-in that runs images.

A template is a function's settings without the function: what the image would have brought along. Over it comes what was
deployed: the process, the environment (with the watchdogs' variables in it), secrets, labels, annotations, limits.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final

import msgspec

from faasd_py.config import FunctionSettings, LimitSettings
from faasd_py.config.rules import broken_function
from faasd_py.core.deployment import FunctionDeployment
from faasd_py.core.errors import BadRequest
from faasd_py.core.quantities import parse_cpu, parse_memory
from faasd_py.deploy import watchdog

FPROCESS: Final = "$fprocess"
"""In a template's command: the words of the deployment's process."""
IMAGE: Final = "image"
"""The mode that a plug-in registers for images without a template."""
_WILD: Final = re.compile(r"[*?\[]")
Images = Mapping[str, FunctionSettings]


def template_of(image: str, images: Images) -> FunctionSettings | None:
    """The template whose pattern fits best: one without wildcards, then the one with most other characters, then the first."""
    names = {image, *_longer(image)}
    fitting = [pattern for pattern in images if any(fnmatchcase(name, pattern) for name in names)]
    if not fitting:
        return None
    return images[max(fitting, key=lambda pattern: (not _WILD.search(pattern), len(_WILD.sub("", pattern))))]


def settings_of(
    name: str, deployment: FunctionDeployment, images: Images, modes: Collection[str]
) -> FunctionSettings:
    """The settings of the function that is deployed so.

    Raises:
        BadRequest: nothing here runs it; the sentence begins with the key, as config.toml's do.
    """
    if not deployment.image:
        raise BadRequest(f"functions.{name}.image: the deployment names none")
    template = template_of(deployment.image, images)
    if template is None and IMAGE not in modes:
        raise BadRequest(
            f"functions.{name}.image: nothing here runs {deployment.image[:200]!r}: name it in [images] of config.toml, "
            f"or install a plug-in that runs images (faasd-py-podman)"
        )
    settings = _merged(name, deployment, template or FunctionSettings(mode=IMAGE))
    for sentence in broken_function(name, settings):
        raise BadRequest(sentence)
    return settings


def _merged(name: str, deployment: FunctionDeployment, template: FunctionSettings) -> FunctionSettings:
    variables = {**template.environment, **(deployment.env_vars or {})}
    changes: dict[str, Any] = {
        "labels": {**template.labels, **(deployment.labels or {})},
        "annotations": {**template.annotations, **(deployment.annotations or {})},
        "secrets": list(dict.fromkeys([*template.secrets, *(deployment.secrets or [])])),
        "limits": _limits(name, template.limits, deployment),
        "read_only_root": template.read_only_root or deployment.read_only_root_filesystem,
    }
    mode = template.mode or "fork"
    if template.image is not None or mode not in watchdog.MODES.values():
        if deployment.env_process:
            variables["fprocess"] = deployment.env_process
        changes |= {"image": template.image or deployment.image, "mode": template.mode}
    else:
        mode = _mode(name, variables, mode)
        command = _command(name, template, deployment.env_process or watchdog.process(variables))
        changes |= {"mode": mode, "command": command, **watchdog.heeded(variables, mode)}
    return msgspec.structs.replace(template, environment=variables, **changes)


def _mode(name: str, variables: Mapping[str, str], mode: str) -> str:
    """The watchdog's `mode`, if it is one: it is a word that functions may use for themselves, too."""
    asked = variables.get("mode", "")
    if asked in watchdog.ELSEWHERE:
        known = ", ".join(sorted(watchdog.MODES))
        raise BadRequest(
            f"functions.{name}.mode: of the watchdog's modes there are {known} here, not {asked}"
        )
    return watchdog.MODES.get(asked, mode)


def _command(name: str, template: FunctionSettings, process: str) -> list[str]:
    """The watchdogs split at spaces, without quoting (wire contract §4.4)."""
    command = template.command if template.command is not None else [FPROCESS]
    words = process.split()
    if FPROCESS in command and not words:
        raise BadRequest(
            f"functions.{name}.command: the image's template runs what envProcess (fprocess) says, and there is none"
        )
    return [word for part in command for word in (words if part == FPROCESS else [part])]


def _limits(name: str, template: LimitSettings, deployment: FunctionDeployment) -> LimitSettings:
    """GPUs, requests and constraints are for schedulers, which choose between boxes: here there is one."""
    changes: dict[str, Any] = {}
    limits = deployment.limits
    try:
        if limits is not None and limits.memory:
            changes["memory"] = parse_memory(limits.memory)
        if limits is not None and limits.cpu:
            changes["cpu"] = parse_cpu(limits.cpu)
    except ValueError as error:
        raise BadRequest(f"functions.{name}.limits: {error}") from None
    return msgspec.structs.replace(template, **changes)


def _longer(image: str) -> set[str]:
    """The same image, as registries call it: with its tag, without the registry that goes without saying."""
    short = image.removeprefix("docker.io/").removeprefix("library/")
    tagged = "@" in image or ":" in image.rpartition("/")[2]
    return {short} if tagged else {short, f"{short}:latest", f"{image}:latest"}
