"""The messages of STAN as protobuf classes, built from a table when this is imported: `stan.proto` says the same.

Built and not generated, so that any protobuf runtime of the versions we allow will do. The types are in `proto.pyi`.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

FILE: Final = "faasd_py_nats_streaming/stan.proto"
PACKAGE: Final = "stan"
START_POSITIONS: Final = ("NewOnly", "LastReceived", "TimeDeltaStart", "SequenceStart", "First")
MESSAGES: Final = {
    "PubMsg": "string clientID=1 guid=2 subject=3 reply=4; bytes data=5 connID=6 sha256=10",
    "PubAck": "string guid=1 error=2",
    "MsgProto": (
        "uint64 sequence=1; string subject=2 reply=3; bytes data=4; int64 timestamp=5; bool redelivered=6; "
        "uint32 redeliveryCount=7 CRC32=10"
    ),
    "Ack": "string subject=1; uint64 sequence=2",
    "ConnectRequest": (
        "string clientID=1 heartbeatInbox=2; int32 protocol=3; bytes connID=4; int32 pingInterval=5 pingMaxOut=6"
    ),
    "ConnectResponse": (
        "string pubPrefix=1 subRequests=2 unsubRequests=3 closeRequests=4 error=5 subCloseRequests=6 pingRequests=7; "
        "int32 pingInterval=8 pingMaxOut=9 protocol=10; string publicKey=100"
    ),
    "Ping": "bytes connID=1",
    "PingResponse": "string error=1",
    "SubscriptionRequest": (
        "string clientID=1 subject=2 qGroup=3 inbox=4; int32 maxInFlight=5 ackWaitInSecs=6; string durableName=7; "
        "StartPosition startPosition=10; uint64 startSequence=11; int64 startTimeDelta=12"
    ),
    "SubscriptionResponse": "string ackInbox=2 error=3",
    "UnsubscribeRequest": "string clientID=1 subject=2 inbox=3 durableName=4",
    "CloseRequest": "string clientID=1",
    "CloseResponse": "string error=1",
}
"""`type field=number …; type …`, a message each."""

Field: Final = descriptor_pb2.FieldDescriptorProto
_TYPES: Final = {
    "string": Field.TYPE_STRING,
    "bytes": Field.TYPE_BYTES,
    "bool": Field.TYPE_BOOL,
    "int32": Field.TYPE_INT32,
    "int64": Field.TYPE_INT64,
    "uint32": Field.TYPE_UINT32,
    "uint64": Field.TYPE_UINT64,
}


def describe() -> descriptor_pb2.FileDescriptorProto:
    """The file, as protobuf describes files."""
    file = descriptor_pb2.FileDescriptorProto(name=FILE, package=PACKAGE, syntax="proto3")
    enum = file.enum_type.add(name="StartPosition")
    for number, name in enumerate(START_POSITIONS):
        enum.value.add(name=name, number=number)
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for group in fields.split("; "):
            _describe_group(message, *group.split(" "))
    return file


def _describe_group(message: descriptor_pb2.DescriptorProto, kind: str, *fields: str) -> None:
    for field in fields:
        name, _, number = field.partition("=")
        made = message.field.add(name=name, number=int(number), label=Field.LABEL_OPTIONAL, json_name=name)
        if kind in _TYPES:
            made.type = _TYPES[kind]
        else:
            made.type, made.type_name = Field.TYPE_ENUM, f".{PACKAGE}.{kind}"


def _build() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(describe())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


_classes: Final = _build()
PubMsg = _classes["PubMsg"]
PubAck = _classes["PubAck"]
MsgProto = _classes["MsgProto"]
Ack = _classes["Ack"]
ConnectRequest = _classes["ConnectRequest"]
ConnectResponse = _classes["ConnectResponse"]
Ping = _classes["Ping"]
PingResponse = _classes["PingResponse"]
SubscriptionRequest = _classes["SubscriptionRequest"]
SubscriptionResponse = _classes["SubscriptionResponse"]
UnsubscribeRequest = _classes["UnsubscribeRequest"]
CloseRequest = _classes["CloseRequest"]
CloseResponse = _classes["CloseResponse"]
