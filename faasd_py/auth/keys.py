"""The credentials there are, as config.toml says where: files of one's own, systemd's, or made at the first start."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from faasd_py.auth import files, tokens
from faasd_py.auth.basic import Credentials
from faasd_py.auth.token import Token
from faasd_py.config import AuthSettings
from faasd_py.core.errors import ConfigError

USER: Final = "basic-auth-user"
PASSWORD: Final = "basic-auth-password"  # noqa: S105  # a file's name
ADMIN: Final = "admin"
TOKENS: Final = "tokens.json"
_BYTES: Final = 48
"""Random bytes of a password that is made: 64 characters."""
_log: Final = logging.getLogger("faasd_py.auth")


class Keys(msgspec.Struct, frozen=True, kw_only=True):
    """All of them at one moment.

    `credentials` is None where nobody may come in by a password; `path` is the tokens' file, `managed` whether it is ours
    to write.
    """

    credentials: Credentials | None
    tokens: tuple[Token, ...]
    path: Path
    managed: bool


def load(settings: AuthSettings, state: Path, environ: Mapping[str, str]) -> Keys:
    """Read them; what is missing in the state directory is made where something asks for it.

    Raises:
        ConfigError: a file that was named is not there, cannot be read, or is empty; the text names it, not what is in it.
    """
    directory = state / "auth"
    path = Path(settings.tokens) if settings.tokens else directory / TOKENS
    return Keys(
        credentials=_credentials(settings, directory, environ),
        tokens=tokens.load(path, required=settings.tokens is not None),
        path=path,
        managed=settings.tokens is None,
    )


def check(settings: AuthSettings) -> None:
    """The files that were named can be used. What would be made, or comes from systemd, is not looked at.

    Raises:
        ConfigError: as `load`.
    """
    if settings.user_file and settings.password_file:
        _named(settings.user_file, settings.password_file)
    if settings.tokens:
        tokens.load(Path(settings.tokens), required=True)


def _credentials(settings: AuthSettings, directory: Path, environ: Mapping[str, str]) -> Credentials | None:
    if settings.user_file and settings.password_file:
        return _named(settings.user_file, settings.password_file)
    if given := _handed_over(environ):
        return _checked(*(_given(path, "") for path in given))
    return _kept(directory, make=settings.enabled or settings.functions)


def _named(user: str, password: str) -> Credentials:
    places = {"auth.user_file: ": user, "auth.password_file: ": password}
    return _checked(*(_given(Path(path), key) for key, path in places.items()))


def _handed_over(environ: Mapping[str, str]) -> list[Path] | None:
    """Where systemd put credentials of these names (`LoadCredential=`, systemd.exec(5)); None when it has neither."""
    directory = environ.get("CREDENTIALS_DIRECTORY")
    paths = [Path(directory, name) for name in (USER, PASSWORD)] if directory else []
    return paths if any(path.exists() for path in paths) else None


def _kept(directory: Path, *, make: bool) -> Credentials | None:
    found = [files.read(directory / name) for name in (USER, PASSWORD)]
    if None in found:
        if not make:
            return None
        _make(directory, found)
    return _checked(*(_given(directory / name, "") for name in (USER, PASSWORD)))


def _make(directory: Path, found: list[bytes | None]) -> None:
    words = (ADMIN, secrets.token_urlsafe(_BYTES))
    for name, known, word in zip((USER, PASSWORD), found, words, strict=True):
        if known is not None:
            continue
        try:
            files.write(directory / name, word.encode() + b"\n")
        except OSError as error:
            raise ConfigError(f"{directory / name}: cannot be written: {error.strerror}") from error
        _log.info("made %s for /system and /ui: %s", name, directory / name)


def _given(path: Path, key: str) -> bytes:
    try:
        data = files.read(path)
    except ConfigError as error:
        raise ConfigError(f"{key}{error}") from None
    if data is None:
        raise ConfigError(f"{key}{path}: there is no such file")
    if not data.strip():
        raise ConfigError(f"{key}{path}: is empty")
    return data.strip()


def _checked(user: bytes, password: bytes) -> Credentials:
    if b":" in user:
        raise ConfigError("auth: a user name with a colon cannot be sent (RFC 7617 §2)")
    return Credentials(user, password)
