"""Pure. The one user with the one password (OpenFaaS wire contract §1.1)."""

from __future__ import annotations

import hmac
from hashlib import sha256


class Credentials:
    """A user and a password, kept as digests only."""

    __slots__ = ("_password", "_user")

    def __init__(self, user: bytes, password: bytes) -> None:
        self._user = sha256(user).digest()
        self._password = sha256(password).digest()

    def match(self, user: bytes, password: bytes) -> bool:
        """Whether these are the two. How long it takes tells nothing: digests of one length are compared, and always both.

        They are no store of passwords (the files are), so there is nothing that a slower digest would protect.
        """
        same_user = hmac.compare_digest(sha256(user).digest(), self._user)
        same_password = hmac.compare_digest(sha256(password).digest(), self._password)
        return same_user & same_password
