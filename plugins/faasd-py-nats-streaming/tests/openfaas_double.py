"""OpenFaaS' two ends of the queue, written by hand from its wire contract: what its gateway sends, what its worker does.

They speak STAN by themselves, with a client of a few lines, so that nothing of the plug-in can hide in them.
"""

from __future__ import annotations

import base64
import json
import secrets
from contextlib import asynccontextmanager
from typing import Any

import trio

from faasd_py_natsclient import connect


def field(number: int, value: Any) -> bytes:
    """One protobuf field: a string or bytes, or a small number."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    data = value if isinstance(value, bytes) else value.encode()
    return varint(number << 3 | 2) + varint(len(data)) + data


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def fields(data: bytes) -> dict[int, Any]:
    """The fields of a message: bytes and numbers."""
    at, found = 0, {}
    while at < len(data):
        tag, at = read_varint(data, at)
        value, at = read_varint(data, at)
        if tag & 7 == 2:
            value, at = data[at : at + value], at + value
        found[tag >> 3] = value
    return found


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not data[at - 1] & 0x80:
            return value, at


class Stan:
    """The least client there is."""

    def __init__(self, nats: Any, client: str) -> None:
        self.nats = nats
        self.client = client
        self.conn_id = secrets.token_hex(4)

    async def join(self, cluster: str) -> None:
        inbox = self.nats.new_inbox()
        self.nats.subscribe(inbox, lambda message: self.nats.publish(message.reply, b""))
        request = field(1, self.client) + field(2, inbox) + field(3, 1) + field(4, self.conn_id)
        answer = fields((await self.nats.request(f"_STAN.discover.{cluster}", request, timeout=5)).data)
        assert 5 not in answer, answer[5]
        self.pub, self.sub = answer[1].decode(), answer[2].decode()

    async def publish(self, subject: str, data: bytes) -> None:
        guid = secrets.token_hex(8)
        message = (
            field(1, self.client)
            + field(2, guid)
            + field(3, subject)
            + field(5, data)
            + field(6, self.conn_id)
        )
        answer = fields((await self.nats.request(f"{self.pub}.{subject}", message, timeout=5)).data)
        assert answer[1] == guid.encode()
        assert 2 not in answer, answer[2]

    async def subscribe(self, subject: str, group: str, durable: str, deliver: Any) -> None:
        """One at a time, as the worker does (MaxInflight 1)."""
        inbox = self.nats.new_inbox()
        acks = ""

        def on_message(message: Any) -> None:
            got = fields(message.data)
            deliver(got[4])
            self.nats.publish(acks, field(1, subject) + field(2, got[1]))

        self.nats.subscribe(inbox, on_message)
        request = b"".join(
            field(number, value)
            for number, value in (
                (1, self.client),
                (2, subject),
                (3, group),
                (4, inbox),
                (5, 1),
                (6, 30),
                (7, durable),
                (10, 4),
            )
        )
        answer = fields((await self.nats.request(self.sub, request, timeout=5)).data)
        acks = answer[2].decode()


@asynccontextmanager
async def stan(url: str, client: str, cluster: str = "faas-cluster"):
    async with connect([url], name=client) as nats:
        made = Stan(nats, client)
        await made.join(cluster)
        yield made


def gateway_message(function: str, body: bytes, **more: Any) -> bytes:
    """What the gateway queues for `POST /async-function/FUNCTION` with a callback, as Go's encoding/json writes it."""
    message: dict[str, Any] = {
        "Header": {
            "Accept": ["*/*"], "Content-Type": ["application/octet-stream"], "User-Agent": ["curl/8.5.0"],
            "X-Call-Id": ["b6b0ae7c-1d5c-4b9e-a1a4-7f6d7c2e7a10"], "X-Start-Time": ["1700000000000000000"],
        },
        "Host": "127.0.0.1:8080",
        "Body": base64.b64encode(body).decode(),
        "Method": "POST",
        "Path": "/sub",
        "QueryString": "a=b",
        "Function": function,
    } | more  # fmt: skip
    return json.dumps(message, separators=(",", ":")).encode()


def go_url(host: str, path: str) -> dict[str, Any]:
    return {
        "Scheme": "http", "Opaque": "", "User": None, "Host": host, "Path": path, "RawPath": "", "OmitHost": False,
        "ForceQuery": False, "RawQuery": "", "Fragment": "", "RawFragment": "",
    }  # fmt: skip


class QueueWorker:
    """What OpenFaaS' worker reads out of each message: the request it would send to the gateway, and where it tells."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []

    def take(self, data: bytes) -> None:
        message = json.loads(data)
        url = f"/function/{message['Function']}{message.get('Path') or '/'}"
        if message.get("QueryString"):
            url += f"?{message['QueryString']}"
        callback = message.get("CallbackUrl")
        self.requests.append(
            {
                "method": "POST",
                "url": url,
                "headers": message.get("Header") or {},
                "body": base64.b64decode(message.get("Body") or ""),
                "callback": callback and f"{callback['Scheme']}://{callback['Host']}{callback['Path']}",
            }
        )

    async def until(self, count: int) -> None:
        with trio.fail_after(10):
            while len(self.requests) < count:
                await trio.sleep(0.005)
