from typing import Final, Self

from google.protobuf import descriptor_pb2
from google.protobuf.message import Message

FILE: Final[str]
PACKAGE: Final[str]
START_POSITIONS: Final[tuple[str, ...]]
MESSAGES: Final[dict[str, str]]

def describe() -> descriptor_pb2.FileDescriptorProto: ...

class PubMsg(Message):
    clientID: str
    guid: str
    subject: str
    reply: str
    data: bytes
    connID: bytes
    sha256: bytes
    def __init__(
        self,
        *,
        clientID: str = ...,
        guid: str = ...,
        subject: str = ...,
        reply: str = ...,
        data: bytes = ...,
        connID: bytes = ...,
        sha256: bytes = ...,
    ) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class PubAck(Message):
    guid: str
    error: str
    def __init__(self, *, guid: str = ..., error: str = ...) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class MsgProto(Message):
    sequence: int
    subject: str
    reply: str
    data: bytes
    timestamp: int
    redelivered: bool
    redeliveryCount: int
    CRC32: int
    def __init__(
        self,
        *,
        sequence: int = ...,
        subject: str = ...,
        reply: str = ...,
        data: bytes = ...,
        timestamp: int = ...,
        redelivered: bool = ...,
        redeliveryCount: int = ...,
        CRC32: int = ...,
    ) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class Ack(Message):
    subject: str
    sequence: int
    def __init__(self, *, subject: str = ..., sequence: int = ...) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class ConnectRequest(Message):
    clientID: str
    heartbeatInbox: str
    protocol: int
    connID: bytes
    pingInterval: int
    pingMaxOut: int
    def __init__(
        self,
        *,
        clientID: str = ...,
        heartbeatInbox: str = ...,
        protocol: int = ...,
        connID: bytes = ...,
        pingInterval: int = ...,
        pingMaxOut: int = ...,
    ) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class ConnectResponse(Message):
    pubPrefix: str
    subRequests: str
    unsubRequests: str
    closeRequests: str
    error: str
    subCloseRequests: str
    pingRequests: str
    pingInterval: int
    pingMaxOut: int
    protocol: int
    publicKey: str
    def __init__(
        self,
        *,
        pubPrefix: str = ...,
        subRequests: str = ...,
        unsubRequests: str = ...,
        closeRequests: str = ...,
        error: str = ...,
        subCloseRequests: str = ...,
        pingRequests: str = ...,
        pingInterval: int = ...,
        pingMaxOut: int = ...,
        protocol: int = ...,
        publicKey: str = ...,
    ) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class Ping(Message):
    connID: bytes
    def __init__(self, *, connID: bytes = ...) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class PingResponse(Message):
    error: str
    def __init__(self, *, error: str = ...) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class SubscriptionRequest(Message):
    clientID: str
    subject: str
    qGroup: str
    inbox: str
    maxInFlight: int
    ackWaitInSecs: int
    durableName: str
    startPosition: int
    startSequence: int
    startTimeDelta: int
    def __init__(
        self,
        *,
        clientID: str = ...,
        subject: str = ...,
        qGroup: str = ...,
        inbox: str = ...,
        maxInFlight: int = ...,
        ackWaitInSecs: int = ...,
        durableName: str = ...,
        startPosition: int = ...,
        startSequence: int = ...,
        startTimeDelta: int = ...,
    ) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class SubscriptionResponse(Message):
    ackInbox: str
    error: str
    def __init__(self, *, ackInbox: str = ..., error: str = ...) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class UnsubscribeRequest(Message):
    clientID: str
    subject: str
    inbox: str
    durableName: str
    def __init__(
        self, *, clientID: str = ..., subject: str = ..., inbox: str = ..., durableName: str = ...
    ) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class CloseRequest(Message):
    clientID: str
    def __init__(self, *, clientID: str = ...) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...

class CloseResponse(Message):
    error: str
    def __init__(self, *, error: str = ...) -> None: ...
    @classmethod
    def FromString(cls, s: bytes) -> Self: ...
