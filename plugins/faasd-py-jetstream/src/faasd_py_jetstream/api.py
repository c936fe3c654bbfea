"""Asking JetStream's API: JSON both ways, errors as exceptions (NATS ADR-1, ADR-31)."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import trio

from faasd_py.api import QueueUnavailable
from faasd_py_natsclient import Client, Disconnected, Message, NatsError, NoResponders, RequestTimeout

NOT_FOUND: Final = 404
NO_STORAGE: Final = 10047
"""What a stream reserves is more than the server has."""
WRONG_SEQUENCE: Final = 10071
"""The subject's last message is not the one that was expected."""
TIMEOUT: Final = 5.0
TRIES: Final = 3


class Fault(msgspec.Struct, frozen=True):
    """JetStream's complaint: `code` as HTTP has it, `err_code` its own number."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class ApiError(QueueUnavailable):
    """JetStream refused; `fault` says why."""

    def __init__(self, what: str, fault: Fault) -> None:
        super().__init__(f"JetStream refused {what}: {fault.description} ({fault.err_code})")
        self.fault = fault


class Stored(msgspec.Struct, frozen=True):
    """A message as its stream keeps it."""

    subject: str
    seq: int
    data: bytes
    headers: Mapping[str, str]


class Api:
    """The API of one domain. Every method raises QueueUnavailable when the broker is away, ApiError when it refuses."""

    def __init__(self, client: Client, domain: str | None = None) -> None:
        self._client = client
        self.root = f"$JS.{domain}.API" if domain else "$JS.API"

    async def ask(self, subject: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request; tried again while nobody answers: a leader may be being elected."""
        data = msgspec.json.encode(body) if body else b""
        message = await self._request(f"{self.root}.{subject}", data)
        try:
            answer: dict[str, Any] = msgspec.json.decode(message.data)
        except msgspec.DecodeError:
            raise QueueUnavailable(f"JetStream answered {subject} with something that is not JSON") from None
        if error := answer.get("error"):
            raise ApiError(subject, msgspec.convert(error, Fault))
        return answer

    async def _request(self, subject: str, data: bytes) -> Message:
        for left in reversed(range(TRIES)):
            try:
                return await self._client.request(subject, data, timeout=TIMEOUT)
            except NatsError as error:
                if not left or not isinstance(error, (NoResponders, RequestTimeout, Disconnected)):
                    raise QueueUnavailable(f"JetStream does not answer: {error}") from error
                await trio.sleep(0.2)
        raise AssertionError

    def tell(self, subject: str, body: Mapping[str, Any]) -> None:
        """A request whose answer nobody waits for."""
        self._client.publish(f"{self.root}.{subject}", msgspec.json.encode(body))

    # streams

    async def ensure_stream(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """The stream, made if it is not there; its info."""
        name = wanted["name"]
        found = await self.stream(name)
        if found is not None:
            return found
        try:
            return await self.ask(f"STREAM.CREATE.{name}", wanted)
        except ApiError:  # another daemon may have been quicker
            found = await self.stream(name)
            if found is None:
                raise
            return found

    async def stream(self, name: str) -> dict[str, Any] | None:
        """A stream's info; None: there is none."""
        try:
            return await self.ask(f"STREAM.INFO.{name}")
        except ApiError as error:
            if error.fault.code == NOT_FOUND:
                return None
            raise

    async def update_stream(self, wanted: dict[str, Any], found: dict[str, Any]) -> None:
        """Bring the configuration that was found to what is wanted."""
        if any(found.get(key) != value for key, value in wanted.items()):
            await self.ask(f"STREAM.UPDATE.{wanted['name']}", found | wanted)

    async def subjects(self, stream: str, pattern: str) -> dict[str, int]:
        """Every subject that matches, with how many messages it has."""
        found: dict[str, int] = {}
        while True:
            request = {"subjects_filter": pattern, "offset": len(found)}
            answer = await self.ask(f"STREAM.INFO.{stream}", request)
            page = answer["state"].get("subjects") or {}
            found |= page
            if not page or len(found) >= answer.get("total", 0):
                return found

    async def last(self, stream: str, subject: str) -> Stored | None:
        """The last message of a subject, which may have wildcards, from the stream's leader."""
        return await self._get(stream, {"last_by_subj": subject})

    async def at(self, stream: str, seq: int) -> Stored | None:
        """The message with this number."""
        return await self._get(stream, {"seq": seq})

    async def _get(self, stream: str, which: Mapping[str, Any]) -> Stored | None:
        try:
            answer = await self.ask(f"STREAM.MSG.GET.{stream}", which)
        except ApiError as error:
            if error.fault.code == NOT_FOUND:
                return None
            raise
        message = answer["message"]
        block = base64.b64decode(message.get("hdrs", "")).decode("utf-8", "surrogateescape")
        headers = dict(line.split(": ", 1) for line in block.split("\r\n")[1:] if ": " in line)
        return Stored(message["subject"], message["seq"], base64.b64decode(message.get("data", "")), headers)

    async def delete(self, stream: str, seq: int) -> bool:
        """Delete one message; whether it was there."""
        try:
            await self.ask(f"STREAM.MSG.DELETE.{stream}", {"seq": seq, "no_erase": True})
        except ApiError as error:
            if error.fault.code in {NOT_FOUND, 400, 500}:
                return False
            raise
        return True

    async def purge(self, stream: str, subject: str) -> int:
        """Remove a subject's messages; how many it were."""
        answer = await self.ask(f"STREAM.PURGE.{stream}", {"filter": subject})
        return int(answer.get("purged", 0))

    async def following(self, stream: str, subject: str, seq: int, count: int) -> list[Stored]:
        """At most `count` messages of a subject, in order, from a sequence number on."""
        return await self._batch(stream, {"seq": seq, "next_by_subj": subject, "batch": count})

    async def _batch(self, stream: str, which: Mapping[str, Any]) -> list[Stored]:
        """A direct get with many answers; the last says 204."""
        send, receive = trio.open_memory_channel[Message](1024)
        inbox = self._client.new_inbox()
        subscription = self._client.subscribe(inbox, send.send_nowait)
        found: list[Stored] = []
        try:
            data = msgspec.json.encode(which)
            self._client.publish(f"{self.root}.DIRECT.GET.{stream}", data, reply=inbox)
            while (message := await _next(receive)).status not in {204, 404}:
                if message.status is not None:
                    raise QueueUnavailable(f"JetStream answered {message.status} {message.description}")
                headers = message.headers or {}
                found.append(
                    Stored(headers["Nats-Subject"], int(headers["Nats-Sequence"]), message.data, headers)
                )
        except NatsError as error:
            raise QueueUnavailable(f"JetStream does not answer: {error}") from error
        finally:
            subscription.unsubscribe()
        return found

    # consumers

    async def ensure_consumer(self, stream: str, config: Mapping[str, Any]) -> dict[str, Any]:
        """The durable consumer, made if it is not there."""
        return await self.ask(
            f"CONSUMER.CREATE.{stream}.{config['name']}",
            {"stream_name": stream, "config": config, "action": ""},
        )

    async def consumers(self, stream: str) -> list[dict[str, Any]]:
        """The info of every consumer."""
        found: list[dict[str, Any]] = []
        while True:
            answer = await self.ask(f"CONSUMER.LIST.{stream}", {"offset": len(found)})
            page = answer.get("consumers") or []
            found += page
            if not page or len(found) >= answer["total"]:
                return found


async def _next(receive: trio.MemoryReceiveChannel[Message]) -> Message:
    with trio.move_on_after(TIMEOUT):
        return await receive.receive()
    raise QueueUnavailable(f"JetStream did not send everything within {TIMEOUT:g} s")
