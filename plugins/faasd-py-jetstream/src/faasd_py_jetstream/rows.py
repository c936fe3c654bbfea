"""Pure. What is stored, as bytes: calls, rows, claims, and what runs. MessagePack, readable by later versions.

A call is the array that `faasd_py.api.Call` is; one whose body lies in the object store has an empty body and the
header `Faasd-Body`. A row is `[record, outcome]`; a claim and a journal are arrays, too.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from faasd_py.api import Call, Outcome, Record

BODY: Final = "Faasd-Body"
ROW: Final = "Faasd-Row"
ID: Final = "Faasd-Id"


class Message(Protocol):
    """What a message has that a stream keeps."""

    @property
    def data(self) -> bytes:
        """Its payload."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Its headers."""
        ...


class Row(msgspec.Struct, frozen=True, array_like=True):
    """How a call stands, and its last answer."""

    record: Record
    outcome: Outcome | None = None


class Claim(msgspec.Struct, frozen=True, array_like=True):
    """An idempotency key that was used. Not `sure`: its call may not have been put yet; whoever comes next does it."""

    id: str
    call_id: str
    fingerprint: bytes
    until: float
    sure: bool = False


class Journal(msgspec.Struct, frozen=True, array_like=True):
    """What one daemon runs: attempt numbers by sequence in the stream that was created at `stream`."""

    stream: str
    running: dict[int, int]


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """Where a large body lies: in bytes, in so many chunks under a name of their own; `whole`: it was no file."""

    size: int
    chunks: int
    name: str
    digest: str
    whole: bool

    def header(self) -> str:
        """As the call's message carries it."""
        return f"{self.size} {self.chunks} {self.name} {self.digest} {int(self.whole)}"


_encoder: Final = msgspec.msgpack.Encoder()
_calls: Final = msgspec.msgpack.Decoder(Call)
_rows: Final = msgspec.msgpack.Decoder(Row)
_claims: Final = msgspec.msgpack.Decoder(Claim)
_journals: Final = msgspec.msgpack.Decoder(Journal)
encode: Final = _encoder.encode
decode_call: Final = _calls.decode
decode_row: Final = _rows.decode
decode_claim: Final = _claims.decode
decode_journal: Final = _journals.decode


def read_stored(header: str) -> Stored:
    """The other way of `Stored.header`.

    Raises:
        ValueError: it is none.
    """
    size, chunks, name, digest, whole = header.split(" ")
    return Stored(int(size), int(chunks), name, digest, whole == "1")


def size_of(message: Message) -> int:
    """What a stored call counts; 0 for what is none."""
    try:
        beside = read_stored(message.headers[BODY]).size if BODY in message.headers else 0
        return decode_call(message.data).size + beside
    except (msgspec.DecodeError, ValueError):
        return 0


def lane_of(message: Message) -> str | None:
    """The lane of a stored call; None for what is none."""
    try:
        return decode_call(message.data).lane
    except msgspec.DecodeError:
        return None


def row_header(record: Record) -> str:
    """A record as a header's value."""
    return base64.b64encode(encode(Row(record))).decode()


def read_row_header(value: str) -> Record:
    """The other way.

    Raises:
        ValueError: it is none.
    """
    try:
        return decode_row(base64.b64decode(value)).record
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
