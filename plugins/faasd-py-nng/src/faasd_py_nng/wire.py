"""Pure. What hub and spoke say to each other: msgpack arrays, each with its number in front.

Every nng message is one of these, at most MAX_FRAME bytes; a spoke asks (REQ), the hub replies (REP):

    Hello    → Challenge    who, which version, which lanes
    Proof    → Welcome      a session begins, or goes on after the link was cut
    Frame    → Answers      many operations at once, each with a number of its own that makes it safe to repeat
    Listen   → News         held by the hub until there is something to tell, or the heartbeat is due
    Chunk    → Received     a part of a large body, to the hub
    Fetch    → Data         a part of a large body or answer, from the hub
    Leave    → Received     the session ends; what the spoke held is READY again

Whatever cannot be read as one of these ends the session it came in. `Refused` may be the reply to anything.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from faasd_py.api import Call, LaneStats, Move, Outcome, Spooled

VERSION: Final = 1
CHUNK: Final = 192 << 10
"""Bytes of a large body in one message."""
INLINE: Final = 64 << 10
"""A body up to this size travels with its call."""
MAX_FRAME: Final = 256 << 10
"""Bytes of one message, also where nng cuts off."""
MAX_OPS: Final = 1024
"""Operations of one Frame."""
FAR: Final = 1e11
"""Seconds: later than any time that makes sense."""
Short = Annotated[str, Meta(max_length=512)]
Token = Annotated[bytes, Meta(min_length=16, max_length=32)]
Natural = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Array(msgspec.Struct, frozen=True, array_like=True):
    """A new field goes to the end and has a default, so that a peer that does not know it can read on."""


# -- operations, in a Frame


class Put(Array, frozen=True, tag=1):
    """`upload`: the body came in chunks under this number; `file`: it is to lie in a file at the other end, too.

    `again`: it may have been put in a session that is lost: look before putting it.
    """

    op: Natural
    call: Call
    upload: Natural = 0
    file: bool = False
    again: bool = False


class Start(Array, frozen=True, tag=2):
    """The attempt of this lease begins."""

    op: Natural
    lease: Natural


class Settle(Array, frozen=True, tag=3):
    """The end of a lease. Large bodies of the outcome and of the callback came in chunks."""

    op: Natural
    lease: Natural
    move: Move
    reason: Short = ""
    wait: float = 0.0
    outcome: Outcome | None = None
    outcome_upload: Natural = 0
    callback: Call | None = None
    callback_upload: Natural = 0
    callback_file: bool = False


class Return(Array, frozen=True, tag=4):
    """Leases that no worker has taken are handed back; `recall` answers the News that asked for it."""

    op: Natural
    leases: list[Natural]
    recall: Natural = 0


class Credit(Array, frozen=True, tag=5):
    """The hub may have granted so many calls of a lane in this session, all in all; None: the lane is left."""

    op: Natural
    lane: Short
    total: Natural | None


class Flush(Array, frozen=True, tag=6):
    """Answered when what was settled is safe."""

    op: Natural


class Ask(Array, frozen=True, tag=7):
    """Inspection: `what` is a method of the queue's, with what it takes."""

    op: Natural
    what: Annotated[str, Meta(max_length=16)]
    call: Short = ""
    lane: Short | None = None
    state: Natural | None = None
    before: Short | None = None
    limit: Annotated[int, Meta(ge=0, le=10_000)] = 100


Op = Put | Start | Settle | Return | Credit | Flush | Ask


# -- what a spoke says


class Hello(Array, frozen=True, tag=1):
    """`incarnation` sorts by time: of one spoke, the latest is the one that lives."""

    version: Natural
    spoke: Annotated[bytes, Meta(min_length=16, max_length=16)]
    incarnation: Annotated[bytes, Meta(min_length=16, max_length=16)]
    name: Annotated[str, Meta(max_length=128)]
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    lanes: Annotated[list[Short], Meta(max_length=256)]


class Proof(Array, frozen=True, tag=2):
    """`holding`: the leases it holds, for a session that goes on."""

    mac: Annotated[bytes, Meta(max_length=32)]
    holding: list[Natural] = []


class Frame(Array, frozen=True, tag=3):
    """`number`: the hub begins frames in this order; 0: in any. `floor`: all operations below are answered."""

    session: Token
    number: Natural
    floor: Natural
    ops: Annotated[list[Op], Meta(max_length=MAX_OPS)]
    ordered: bool = False
    """Puts take effect one after the other, and none after one that was refused by the queue."""


class Listen(Array, frozen=True, tag=4):
    """Tell me."""

    session: Token


class Chunk(Array, frozen=True, tag=5):
    """Offsets are from the beginning of the body; the last chunk says so."""

    session: Token
    upload: Natural
    offset: Natural
    data: bytes
    last: bool


class Fetch(Array, frozen=True, tag=6):
    """From a lease's body, or from an answer too large for one message."""

    session: Token
    lease: Natural
    answer: Natural
    offset: Natural


class Leave(Array, frozen=True, tag=7):
    """I leave."""

    session: Token


Request = Hello | Proof | Frame | Listen | Chunk | Fetch | Leave


# -- what the hub says


class Done(Array, frozen=True, tag=1):
    """It is done."""

    op: Natural


class Taken(Array, frozen=True, tag=2):
    """The receipt of a put."""

    op: Natural
    id: str
    call_id: str
    duplicate: bool


class Failed(Array, frozen=True, tag=3):
    """It was not done: `kind` is the error's name."""

    op: Natural
    kind: str
    text: str
    retry_after: float = 0.0


class Value(Array, frozen=True, tag=4):
    """What was asked for, msgpack in itself; with `size`, it is to be fetched."""

    op: Natural
    value: bytes
    size: Natural = 0


Answer = Done | Taken | Failed | Value


class Figures(Array, frozen=True):
    """Lanes that changed: ready, leased, delayed, dead, oldest, and how many of the leased are this session's.

    Of two Figures the one with the greater number is the newer. None: the lane is forgotten.
    """

    number: Natural
    lanes: dict[str, tuple[int, int, int, int, float | None, int] | None]
    bytes: int
    quarantined: int
    trouble: str | None = None


class Grant(Array, frozen=True):
    """A lease. The body is to be fetched when `size` is not 0; `file` as in Put."""

    lease: Natural
    id: str
    attempt: int
    crashed: bool
    call: Call
    size: Natural = 0
    file: bool = False


class Challenge(Array, frozen=True, tag=1):
    """`keyed`: an empty proof will not do."""

    version: Natural
    nonce: bytes
    keyed: bool


class Welcome(Array, frozen=True, tag=2):
    """`resumed`: the session goes on. `lost`: leases the spoke holds no longer. Times are in seconds."""

    session: bytes
    mac: bytes
    resumed: bool
    lost: list[Natural]
    heartbeat: float
    patience: float
    capabilities: dict[str, Any]
    figures: Figures
    granted: Natural
    """The last lease granted so far: the next has the next number."""


class Refused(Array, frozen=True, tag=3):
    """`kind`: "key", "version", "superseded", "session", "full", "malformed"."""

    kind: str
    text: str


class Answers(Array, frozen=True, tag=4):
    """One for each operation of the frame."""

    answers: list[Answer]
    figures: Figures | None
    grants: list[Grant] = []


class News(Array, frozen=True, tag=5):
    """`ready`: lanes with calls. `recall`: hand back what no worker has, up to lease number `granted`, and say so."""

    grants: list[Grant]
    ready: list[str]
    recall: Natural
    figures: Figures | None
    granted: Natural


class Received(Array, frozen=True, tag=6):
    """Good."""


class Data(Array, frozen=True, tag=7):
    """Empty at the end."""

    data: bytes


Reply = Challenge | Welcome | Refused | Answers | News | Received | Data

_encoder: Final = msgspec.msgpack.Encoder()
_request_decoder: Final[msgspec.msgpack.Decoder[Request]] = msgspec.msgpack.Decoder(Request)
_reply_decoder: Final[msgspec.msgpack.Decoder[Reply]] = msgspec.msgpack.Decoder(Reply)
encode: Final = _encoder.encode


class Malformed(Exception):
    """These bytes are no message of ours."""


def decode_request(data: bytes) -> Request:
    """What a spoke said.

    Raises:
        Malformed: it makes no sense.
    """
    try:
        return _request_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


def decode_reply(data: bytes) -> Reply:
    """What the hub said.

    Raises:
        Malformed: it makes no sense.
    """
    try:
        return _reply_decoder.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(str(error)) from None


_METHOD: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,64}")
_TARGET: Final = re.compile(rb"/[^\x00-\x20\x7f]*")
_HOST: Final = re.compile(rb"[^\x00-\x20\x7f]*")
_HEADERS: Final = re.compile(
    rb"(?:(?!(?:host|content-length|transfer-encoding|connection|upgrade):)"
    rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\r\n]*\r\n)*",
    re.IGNORECASE,
)


def check_call(call: Call) -> None:
    """A call of another machine's is written to functions as it is, so it must be HTTP (RFC 9110 §5, §9.1).

    Raises:
        Malformed: naming the field.
    """
    if isinstance(call.body, Spooled):
        raise Malformed("a call names a file")
    if not call.lane or len(call.lane) > 512:
        raise Malformed("a call has no lane")
    if not (_is_time(call.accepted_at) and _is_time(call.not_before) and _is_time(call.expires_at)):
        raise Malformed("a time of a call is no time")
    if not (_is_time(call.timeout) and -1000 <= call.priority <= 1000):
        raise Malformed("the timeout or priority of a call makes no sense")
    for name, pattern in (("method", _METHOD), ("target", _TARGET), ("host", _HOST), ("headers", _HEADERS)):
        if pattern.fullmatch(getattr(call, name)) is None:
            raise Malformed(f"the {name} of a call is not HTTP")


def _is_time(seconds: float | None) -> bool:
    return seconds is None or 0 <= seconds <= FAR  # NaN is not


def check_outcome(outcome: Outcome) -> None:
    """Raises Malformed when the outcome names a file."""
    if isinstance(outcome.body, Spooled):
        raise Malformed("an outcome names a file")
    if not (_is_time(outcome.started_at) and _is_time(outcome.duration)):
        raise Malformed("a time of an outcome is no time")


def figures_of(lane: LaneStats, mine: int) -> tuple[int, int, int, int, float | None, int]:
    """A lane's figures on the wire."""
    return lane.ready, lane.leased, lane.delayed, lane.dead, lane.oldest_at, mine
