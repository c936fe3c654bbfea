"""Pure. Signatures of standard-webhooks (https://www.standardwebhooks.com, specification 1.0): HMAC-SHA256.

What is signed is `{webhook-id}.{webhook-timestamp}.{body}`; the field holds one `v1,<base64>` for each secret, with a
space between, so that receivers can change secrets without missing a delivery.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

PREFIX: Final = b"whsec_"
LEAST: Final = 16
"""Bytes; a shorter secret can be guessed."""


def read_secret(text: bytes) -> bytes:
    """The secret in a file's bytes: `whsec_` + base64, or raw; a newline at the end does not count.

    Raises:
        ValueError: one sentence saying what is wrong, without the secret.
    """
    text = text.rstrip(b"\r\n")
    if text.startswith(PREFIX):
        try:
            text = b64decode(text[len(PREFIX) :], validate=True)
        except binascii.Error:
            raise ValueError("what follows whsec_ is not base64") from None
    if len(text) < LEAST:
        raise ValueError(f"expected a secret of at least {LEAST} bytes, got {len(text)}")
    return text


class Signer:
    """Signs one delivery, its body piece by piece, with each secret."""

    def __init__(self, secrets: Iterable[bytes], message: str, timestamp: int) -> None:
        head = f"{message}.{timestamp}.".encode("ascii")
        self._macs = [hmac.new(secret, head, sha256) for secret in secrets]

    def update(self, piece: bytes) -> None:
        """The next piece of the body."""
        for mac in self._macs:
            mac.update(piece)

    def value(self) -> bytes:
        """The field's value, when the body is complete."""
        return b" ".join(b"v1," + b64encode(mac.digest()) for mac in self._macs)
