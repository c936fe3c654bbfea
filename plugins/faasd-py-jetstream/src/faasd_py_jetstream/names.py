"""Pure. What things are called at the broker: streams, consumers, subjects.

    faasd-NS             the calls, a work queue    PREFIX.NS.call.LANE.PRIORITY.CALLER.ID    and …later… until due
                         calls that are over       PREFIX.NS.ended.ID.SEQUENCE
    faasd-NS-dead        dead letters               PREFIX.NS.dead.LANE.PRIORITY.CALLER.ID
    KV_faasd-NS-results  rows of finished calls     $KV.faasd-NS-results.LANE.PRIORITY.CALLER.ID
    KV_faasd-NS-state    rows of tried calls        $KV.faasd-NS-state.row.ID
                         what runs where            $KV.faasd-NS-state.running.NODE
                         idempotency keys           $KV.faasd-NS-state.key.LANE.DIGEST
    OBJ_faasd-NS-bodies  large bodies               an object store, each object named by its call

LANE is the lane's name escaped to one token; PRIORITY is two digits, 00 for 10 to 20 for -10, so that smaller is sooner;
CALLER is a digest of the caller's X-Call-Id, or `-`. A consumer is named LANE_PRIORITY.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Final

import msgspec

HIGHEST: Final = 10
LONGEST: Final = 150
"""Characters of an escaped lane; JetStream's names have at most 255, and a file is named like its consumer."""
NOBODY: Final = "-"
QUARANTINE: Final = "=quarantine"
"""In a lane's place in the stream of dead letters: messages that are no calls."""
_ESCAPED: Final = re.compile(r"=([0-9A-F]{2})")
_ODD: Final = re.compile(r"[^A-Za-z0-9_-]")
NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def token(text: str) -> str:
    """One token of a subject: what is not a letter, digit, `_` or `-` is `=` and the hex of its UTF-8 bytes.

    A text too long for a name keeps its beginning, and a digest tells it from others.
    """
    escaped = _ODD.sub(_escape, text)
    if 0 < len(escaped) <= LONGEST:
        return escaped
    return f"{escaped[:100]}=.{digest(text)}".replace(".", "_")


def _escape(match: re.Match[str]) -> str:
    return "".join(f"={byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def untoken(escaped: str) -> str | None:
    """The text of a token; None when it was too long to be kept, or is none of ours."""
    if "=_" in escaped:
        return None
    try:
        return (
            _ESCAPED.sub(lambda match: chr(int(match[1], 16)), escaped)
            .encode("latin-1")
            .decode("utf-8", "surrogatepass")
        )
    except (UnicodeDecodeError, UnicodeEncodeError):
        return None


def digest(text: str) -> str:
    """32 hex digits."""
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def caller(call_id: str | None) -> str:
    """The token of a caller's own id."""
    return NOBODY if call_id is None else digest(call_id)[:16]


def turned(priority: int) -> str:
    """A priority as two digits: smaller is sooner."""
    return f"{max(0, min(HIGHEST - priority, 2 * HIGHEST)):02d}"


def is_id(text: str) -> bool:
    """It looks like an id that a queue of this kind gave."""
    return ID.fullmatch(text) is not None


class Names(msgspec.Struct, frozen=True):
    """The names of one namespace."""

    prefix: str
    namespace: str

    @property
    def root(self) -> str:
        """Before every subject of the calls."""
        return f"{self.prefix}.{token(self.namespace)}"

    @property
    def calls(self) -> str:
        """The stream of calls."""
        return f"{self.prefix}-{token(self.namespace)}"

    @property
    def dead(self) -> str:
        """The stream of dead letters."""
        return f"{self.calls}-dead"

    @property
    def results(self) -> str:
        """The bucket of finished calls."""
        return f"{self.calls}-results"

    @property
    def state(self) -> str:
        """The bucket of what is known of waiting calls."""
        return f"{self.calls}-state"

    @property
    def bodies(self) -> str:
        """The object store."""
        return f"{self.calls}-bodies"

    @property
    def control(self) -> str:
        """A plain subject on which daemons tell each other what to withdraw."""
        return f"{self.root}.withdraw"

    def results_row(self, place: str) -> str:
        """The subject of a finished call's row; `place` is LANE.PRIORITY.CALLER.ID."""
        return f"$KV.{self.results}.{place}"

    def state_row(self, identity: str) -> str:
        """The subject of a waiting call's row."""
        return f"$KV.{self.state}.row.{identity}"

    def running(self, node: str) -> str:
        """The subject of what one daemon runs."""
        return f"$KV.{self.state}.running.{node}"

    def key(self, lane: str, key: str) -> str:
        """The subject of an idempotency key."""
        return f"$KV.{self.state}.key.{token(lane)}.{digest(key)}"


def bucket(name: str) -> str:
    """The stream behind a key-value bucket."""
    return f"KV_{name}"


def store(name: str) -> str:
    """The stream behind an object store."""
    return f"OBJ_{name}"


def place(lane: str, priority: int, call_id: str | None, identity: str) -> str:
    """LANE.PRIORITY.CALLER.ID."""
    return f"{token(lane)}.{turned(priority)}.{caller(call_id)}.{identity}"


def identity_of(subject: str) -> str:
    """The id at the end of a subject."""
    return subject.rpartition(".")[2]
