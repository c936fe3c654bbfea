"""What can go wrong, by whose doing. Pure.

The connection: Disconnected now and perhaps back soon, Closed for good; ConnectFailed, TlsRefused and AuthRefused on the way to one.
The other side: NoResponders, PermissionDenied, RequestTimeout, BufferFull.
The caller: BadSubject, BadHeader, PayloadTooLarge, BadServer, UnusableCertificate, which are ValueErrors as well.
"""

from __future__ import annotations


class NatsError(Exception):
    """Any of them."""


class Disconnected(NatsError):
    """There is no connection. What was requested may or may not have been done."""


class Closed(Disconnected):
    """The client is at its end: drained, left, or out of attempts."""


class ConnectFailed(NatsError):
    """No server answered as a NATS server does."""


class TlsRefused(ConnectFailed):
    """A server answers, and TLS does not come about: one side trusts not the other's certificate, or the server offers none."""


class AuthRefused(NatsError):
    """The server refuses these credentials, or asks for some."""


class NoResponders(NatsError):
    """Nobody is subscribed to the subject of the request (status 503)."""


class PermissionDenied(NatsError):
    """These credentials may not publish to the subject of the request."""


class RequestTimeout(NatsError, TimeoutError):
    """No answer within the time given."""


class BufferFull(NatsError):
    """As many bytes wait to be sent as may; `Client.wait_room` tells when there is room."""


class BadSubject(NatsError, ValueError):
    """A subject or queue group that would not survive the wire."""


class BadHeader(NatsError, ValueError):
    """A header that would not survive the wire."""


class PayloadTooLarge(NatsError, ValueError):
    """More than the server takes in one message."""


class UnusableCertificate(NatsError, ValueError):
    """A file for TLS that cannot be used; the text begins with which: `ca` or `certificate`."""


class BadServer(NatsError, ValueError):
    """A server's address that is none."""
