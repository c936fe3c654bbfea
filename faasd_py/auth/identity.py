"""Pure. Who was recognised, also as the header line that the door adds for the control plane.

The line is trusted because of where it comes from: the door takes out whatever a client sends under that name, and nobody but
the daemon's own user can connect to the private sockets.
"""

from __future__ import annotations

from typing import Final, Self

import msgspec

from faasd_py.auth import scopes

FIELD: Final = "X-Faasd-Py-Identity"
"""`NAME;SCOPE,SCOPE`."""


class Identity(msgspec.Struct, frozen=True):
    """`name` for people: a token's, or `basic` for the user with the password; never the user's own words."""

    name: str
    scopes: frozenset[str]

    def may(self, needed: str) -> bool:
        """Whether this scope is among its own, or follows from them."""
        return scopes.allows(self.scopes, needed)

    def line(self) -> bytes:
        """The header line."""
        return f"{FIELD}: {self.name};{','.join(sorted(self.scopes))}\r\n".encode()

    @classmethod
    def parse(cls, value: str | None) -> Self | None:
        """From the value of such a line; None when it is none."""
        name, mark, words = (value or "").partition(";")
        return cls(name, frozenset(words.split(",")) & frozenset(scopes.SCOPES)) if name and mark else None


EVERYONE: Final = Identity("everyone", frozenset(scopes.SCOPES))
"""Whoever asks where nobody needs to say who they are."""
