"""Pure. Both sides prove that they know the shared key, without telling it: HMAC-SHA256 (RFC 2104) over both nonces."""

from __future__ import annotations

import hmac
from typing import Final

from faasd_py_nng.wire import Hello

SPOKE: Final = b"faasd-py-nng spoke 1"
HUB: Final = b"faasd-py-nng hub 1"


def proof(key: bytes | None, role: bytes, hello: Hello, nonce: bytes) -> bytes:
    """Bound to the role, so that it cannot be sent back; to both nonces, so that it is good once; to who says it."""
    if key is None:
        return b""
    parts = role, hello.nonce, nonce, hello.spoke, hello.incarnation
    return hmac.digest(key, b"".join(len(part).to_bytes(2, "big") + part for part in parts), "sha256")


def is_proof(given: bytes, expected: bytes) -> bool:
    """In a time that tells nothing."""
    return hmac.compare_digest(given, expected)
