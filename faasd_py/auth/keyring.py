"""Recognises whoever asks; makes and revokes tokens. What is read again takes the place of the old as a whole."""

from __future__ import annotations

from datetime import datetime

import msgspec
import trio

from faasd_py.auth import scopes, token, tokens
from faasd_py.auth.header import Basic, read
from faasd_py.auth.identity import Identity
from faasd_py.auth.keys import Keys
from faasd_py.auth.token import Token
from faasd_py.core.errors import CallerError

BASIC = Identity("basic", frozenset(scopes.SCOPES))
"""The user with the password may do everything."""


class TokenConflict(CallerError):
    """A token cannot be made or revoked as things are."""

    status = 409


class NoSuchToken(CallerError):
    """No token is called that."""

    status = 404


class Keyring:
    """The keys in force. Hold `turn` from reading keys until `use`, so that no token is made or revoked meanwhile."""

    def __init__(self, keys: Keys) -> None:
        self.turn = trio.Lock()
        self.use(keys)

    def use(self, keys: Keys) -> None:
        """From now on these, and no others."""
        self._keys = keys
        # Found by digest: how long a look-up takes tells about digests, and nobody can choose those of tokens.
        self._by_digest = {one.sha256: one for one in keys.tokens}

    @property
    def tokens(self) -> tuple[Token, ...]:
        """In the order they were made, expired ones included."""
        return self._keys.tokens

    def identify(self, value: bytes, now: float) -> Identity | None:
        """Who sends this Authorization field; None when nobody known does. `now` in seconds since 1970."""
        said = read(value)
        if isinstance(said, Basic):
            known = self._keys.credentials
            return BASIC if known is not None and known.match(said.user, said.password) else None
        if said is None:
            return None
        found = self._by_digest.get(token.digest(said.token))
        if found is None or not found.valid(now):
            return None
        return Identity(found.name, frozenset(found.scopes))

    async def create(
        self, name: str, wanted: tuple[str, ...], *, now: datetime, expires_at: datetime | None
    ) -> tuple[Token, str]:
        """A new token, on the disk and in force: what is kept of it, and its text, which nobody can have a second time.

        Raises:
            ValueError: name or scopes are wrong.
            TokenConflict: the name is taken, there are too many, or the file is not ours.
            OSError: it could not be written, and there is no such token.
        """
        token.check(name, wanted)
        secret = token.make_secret()
        made = Token(
            name=name,
            scopes=tuple(sorted(set(wanted))),
            sha256=token.digest(secret.encode()),
            created_at=now,
            expires_at=expires_at,
        )
        async with self.turn:
            self._check_managed()
            if any(one.name == name for one in self.tokens):
                raise TokenConflict(f'there is a token called "{name}" already: revoke it first')
            if len(self.tokens) >= tokens.MOST:
                raise TokenConflict(f"there are {tokens.MOST} tokens: revoke some first")
            await self._save((*self.tokens, made))
        return made, secret

    async def revoke(self, name: str) -> Token:
        """The token is no more; when this returns it is refused.

        Raises:
            NoSuchToken: nothing is called that.
            TokenConflict: the file is not ours.
            OSError: it could not be written, and the token is still there.
        """
        async with self.turn:
            self._check_managed()
            gone = next((one for one in self.tokens if one.name == name), None)
            if gone is None:
                raise NoSuchToken(f'there is no token called "{name[:70]}"')
            await self._save(tuple(one for one in self.tokens if one is not gone))
        return gone

    async def _save(self, kept: tuple[Token, ...]) -> None:
        await trio.to_thread.run_sync(tokens.save, self._keys.path, kept)
        self.use(msgspec.structs.replace(self._keys, tokens=kept))

    def _check_managed(self) -> None:
        if not self._keys.managed:
            raise TokenConflict(f"auth.tokens names {self._keys.path}: change the tokens there, then reload")
