"""The protocol's messages, byte for byte."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import faasd_py_nats_streaming
from faasd_py_nats_streaming import proto

GOLDEN = {
    "PubMsg": (
        {"clientID": "c", "guid": "g1", "subject": "s.t", "reply": "r", "data": b"\x00\xff", "connID": b"id",
         "sha256": b"h"},
        (b"\x0a\x01c" b"\x12\x02g1" b"\x1a\x03s.t" b"\x22\x01r" b"\x2a\x02\x00\xff" b"\x32\x02id" b"\x52\x01h"),
    ),
    "PubAck": ({"guid": "g1", "error": "no"}, (b"\x0a\x02g1" b"\x12\x02no")),
    "MsgProto": (
        {"sequence": 300, "subject": "s", "reply": "r", "data": b"d", "timestamp": 1 << 40,
         "redelivered": True, "redeliveryCount": 2, "CRC32": 7},
        (b"\x08\xac\x02" b"\x12\x01s" b"\x1a\x01r" b"\x22\x01d" b"\x28\x80\x80\x80\x80\x80\x20" b"\x30\x01" b"\x38\x02" b"\x50\x07"),
    ),
    "Ack": ({"subject": "s", "sequence": 1}, (b"\x0a\x01s" b"\x10\x01")),
    "ConnectRequest": (
        {"clientID": "c", "heartbeatInbox": "hb", "protocol": 1, "connID": b"x", "pingInterval": 5, "pingMaxOut": 3},
        (b"\x0a\x01c" b"\x12\x02hb" b"\x18\x01" b"\x22\x01x" b"\x28\x05" b"\x30\x03"),
    ),
    "ConnectResponse": (
        {"pubPrefix": "p", "subRequests": "s", "unsubRequests": "u", "closeRequests": "c", "error": "e",
         "subCloseRequests": "sc", "pingRequests": "pi", "pingInterval": 5, "pingMaxOut": 88, "protocol": 1,
         "publicKey": "k"},
        (b"\x0a\x01p" b"\x12\x01s" b"\x1a\x01u" b"\x22\x01c" b"\x2a\x01e" b"\x32\x02sc" b"\x3a\x02pi" b"\x40\x05" b"\x48\x58"
        b"\x50\x01" b"\xa2\x06\x01k"),
    ),
    "Ping": ({"connID": b"x"}, b"\x0a\x01x"),
    "PingResponse": ({"error": "e"}, b"\x0a\x01e"),
    "SubscriptionRequest": (
        {"clientID": "c", "subject": "s", "qGroup": "faas", "inbox": "i", "maxInFlight": 1024, "ackWaitInSecs": 30,
         "durableName": "d", "startPosition": 4, "startSequence": 9, "startTimeDelta": 10},
        (b"\x0a\x01c" b"\x12\x01s" b"\x1a\x04faas" b"\x22\x01i" b"\x28\x80\x08" b"\x30\x1e" b"\x3a\x01d" b"\x50\x04" b"\x58\x09"
        b"\x60\x0a"),
    ),
    "SubscriptionResponse": ({"ackInbox": "a", "error": "e"}, (b"\x12\x01a" b"\x1a\x01e")),
    "UnsubscribeRequest": (
        {"clientID": "c", "subject": "s", "inbox": "i", "durableName": "d"},
        (b"\x0a\x01c" b"\x12\x01s" b"\x1a\x01i" b"\x22\x01d"),
    ),
    "CloseRequest": ({"clientID": "c"}, b"\x0a\x01c"),
    "CloseResponse": ({"error": "e"}, b"\x0a\x01e"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOLDEN)
def test_every_field_of_every_message_is_written_as_protobuf_has_it(name):
    """Tag, wire type, value: put together by hand from the protocol's table."""
    fields, data = GOLDEN[name]
    assert getattr(proto, name)(**fields).SerializeToString(deterministic=True) == data


@pytest.mark.parametrize("name", GOLDEN)
def test_every_message_reads_back(name):
    """And a field that a later server adds is passed over."""
    fields, data = GOLDEN[name]
    read = getattr(proto, name).FromString(data + b"\xfa\x3f\x03new")
    assert {field: getattr(read, field) for field in fields} == fields


def test_there_is_a_golden_message_for_each():
    """Nothing is left out."""
    assert set(GOLDEN) == set(proto.MESSAGES)


@pytest.mark.parametrize("name", GOLDEN)
def test_an_empty_message_is_no_bytes(name):
    """Proto3: what has its default is not sent; a PingResponse without an error is an empty message."""
    assert getattr(proto, name)().SerializeToString() == b""


def test_the_proto_file_says_the_same():
    """`stan.proto`, which people read, and the classes, which are built from a table, agree in every field."""
    text = Path(faasd_py_nats_streaming.__file__).with_name("stan.proto").read_text()
    said = {
        name: set(re.findall(r"(\w+) (\w+) = (\d+);", body))
        for name, body in re.findall(r"message (\w+) \{(.*?)\n\}", text, re.DOTALL)
    }
    built = {name: set() for name in proto.MESSAGES}
    for name, groups in proto.MESSAGES.items():
        for group in groups.split("; "):
            kind, *fields = group.split(" ")
            built[name] |= {(kind, *field.split("=")) for field in fields}
    assert said == built
    positions = re.search(r"enum StartPosition \{(.*?)\}", text, re.DOTALL)
    assert re.findall(r"(\w+) = (\d+);", positions[1]) == [
        (n, str(i)) for i, n in enumerate(proto.START_POSITIONS)
    ]


def test_the_stubs_say_the_same():
    """Every message and field that the type checker knows is there, and no other."""
    text = Path(faasd_py_nats_streaming.__file__).with_name("proto.pyi").read_text()
    for name, body in re.findall(r"class (\w+)\(Message\):\n(.*?)    def __init__", text, re.DOTALL):
        assert re.findall(r"^    (\w+):", body, re.MULTILINE) == [
            field.name for field in getattr(proto, name).DESCRIPTOR.fields
        ]
