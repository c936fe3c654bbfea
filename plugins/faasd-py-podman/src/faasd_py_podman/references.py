"""Pure. The names of images: which registry a short one means, and whose credentials it needs."""

from __future__ import annotations

from typing import Final

DOCKER: Final = "docker.io"
_DOCKER_KEYS: Final = (
    DOCKER, "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io",
)  # fmt: skip
"""Under which `docker login` has filed docker.io over the years."""


def full(reference: str) -> str:
    """The reference with its registry, as faas-cli's users mean it: `functions/alpine` is `docker.io/functions/alpine`."""
    first, slash, _ = reference.partition("/")
    if not slash:
        return f"{DOCKER}/library/{reference}"
    if first == "localhost" or "." in first or ":" in first:
        return reference
    return f"{DOCKER}/{reference}"


def registry(reference: str) -> str:
    """`HOST` or `HOST:PORT` of a full reference."""
    return reference.partition("/")[0]


def keys(reference: str) -> tuple[str, ...]:
    """Where an auth file may have the credentials for a full reference, the most specific first."""
    host, _, path = reference.partition("/")
    name = path.partition("@")[0]
    last = name.rpartition("/")[2]
    name = name.removesuffix(f":{last.partition(':')[2]}") if ":" in last else name
    steps = name.split("/")
    narrow = tuple("/".join((host, *steps[:length])) for length in range(len(steps), 0, -1))
    wide = _DOCKER_KEYS if host == DOCKER else (host, f"https://{host}", f"http://{host}", f"https://{host}/")
    return narrow + wide
