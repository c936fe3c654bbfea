"""A NATS core client on trio: publish, request, subscribe, and nothing that a broker's layer above would do better."""

from faasd_py_natsclient.client import Client
from faasd_py_natsclient.connect import connect
from faasd_py_natsclient.errors import (
    AuthRefused,
    BadHeader,
    BadServer,
    BadSubject,
    BufferFull,
    Closed,
    ConnectFailed,
    Disconnected,
    NatsError,
    NoResponders,
    PayloadTooLarge,
    PermissionDenied,
    RequestTimeout,
    TlsRefused,
    UnusableCertificate,
)
from faasd_py_natsclient.info import ServerInfo
from faasd_py_natsclient.mailbox import Mailbox
from faasd_py_natsclient.message import Message
from faasd_py_natsclient.subscription import Subscription
from faasd_py_natsclient.tls import client_context

__all__ = [
    "AuthRefused",
    "BadHeader",
    "BadServer",
    "BadSubject",
    "BufferFull",
    "Client",
    "Closed",
    "ConnectFailed",
    "Disconnected",
    "Mailbox",
    "Message",
    "NatsError",
    "NoResponders",
    "PayloadTooLarge",
    "PermissionDenied",
    "RequestTimeout",
    "ServerInfo",
    "Subscription",
    "TlsRefused",
    "UnusableCertificate",
    "client_context",
    "connect",
]
