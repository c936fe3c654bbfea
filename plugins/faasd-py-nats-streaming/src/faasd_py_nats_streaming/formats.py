"""Pure. The two forms of a call in the channel of calls; everything else at the broker is in the native form."""

from __future__ import annotations

from typing import Final, Protocol

from faasd_py.api import Capabilities
from faasd_py_nats_streaming import envelope, queue_request
from faasd_py_nats_streaming.envelope import Envelope, Unreadable

OVERHEAD: Final = 64 * 1024
"""Bytes of a message that are not the body: header lines above all."""


class Format(Protocol):
    """One of them."""

    def capabilities(self, max_payload: int) -> Capabilities:
        """What a queue can do whose calls have this form, at a server that takes so many bytes."""

    def encode(self, item: Envelope) -> bytes:
        """The message."""

    def decode(self, data: bytes, channel: str, sequence: int, timestamp: int) -> Envelope:
        """The other way; Unreadable when it is none."""


class Native:
    """Everything travels."""

    def capabilities(self, max_payload: int) -> Capabilities:
        """See Format."""
        return Capabilities(
            durable=True, delay=True, expiry=True, max_body=max(1, max_payload - OVERHEAD // 2)
        )

    def encode(self, item: Envelope) -> bytes:
        """See Format."""
        return envelope.encode(item)

    def decode(self, data: bytes, channel: str, sequence: int, timestamp: int) -> Envelope:  # noqa: ARG002
        """See Format."""
        return envelope.decode(data)


class OpenFaas:
    """What OpenFaaS knows travels. Our own messages in the native form are read as well."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def capabilities(self, max_payload: int) -> Capabilities:
        """See Format. The body is in base64, and a worker of OpenFaaS would heed neither delay nor expiry."""
        return Capabilities(durable=True, max_body=max(1, (max_payload - OVERHEAD) // 4 * 3))

    def encode(self, item: Envelope) -> bytes:
        """See Format."""
        return queue_request.encode(item.id, item.call, self._namespace)

    def decode(self, data: bytes, channel: str, sequence: int, timestamp: int) -> Envelope:
        """See Format."""
        if data[:4] == envelope.MAGIC:
            return envelope.decode(data)
        return queue_request.decode(data, channel, sequence, timestamp, self._namespace)


def make_format(name: str, namespace: str) -> Format:
    """By its name in the settings."""
    return OpenFaas(namespace) if name == "openfaas" else Native()


__all__ = ["Format", "Native", "OpenFaas", "Unreadable", "make_format"]
