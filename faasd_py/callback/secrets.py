"""The signing secrets: read from the files that `[callback] secrets` names, again on every reload."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from faasd_py.callback.signature import read_secret
from faasd_py.core.errors import ConfigError


def load_secrets(paths: Iterable[str]) -> tuple[bytes, ...]:
    """The secrets, in the order of their files.

    Raises:
        ConfigError: a file cannot be read, or holds no secret; the text names it and never what is in it.
    """
    return tuple(_load(path) for path in paths)


def _load(path: str) -> bytes:
    try:
        return read_secret(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"callback.secrets: {path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ConfigError(f"callback.secrets: {path}: {error}") from None
