"""The pure parts: names, ids, deliveries, rows; the bytes are nailed down, since other daemons read them."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faasd_py.api import Attempt, Call, Outcome, Record, State
from faasd_py_jetstream import delivery, names, rows
from faasd_py_jetstream.identity import Ids, key_at, key_of, time_of
from faasd_py_natsclient.subjects import literal

NAMES = names.Names("faasd", "openfaas-fn")
CALL = Call(
    lane="resize.openfaas-fn",
    target=b"/a",
    host=b"box",
    headers=b"X: y\r\n",
    body=b"hi",
    call_id="c1",
    accepted_at=1.5,
    callback_url="http://a/b",
)
RECORD = Record(
    id="01a20be2-b296-7000-8352-8f3bed41398d",
    call_id="c1",
    lane="resize.openfaas-fn",
    state=State.DONE,
    attempts=1,
    accepted_at=1.5,
    status=200,
    history=(Attempt(number=1, started_at=2.0, duration=0.5, status=200),),
)


# names


def test_names_are_what_the_manual_says():
    """Other tools, and other versions, find them by these."""
    place = names.place("resize.openfaas-fn", 0, None, "ID")
    assert place == "resize=2Eopenfaas-fn.10.-.ID"
    assert NAMES.calls == "faasd-openfaas-fn"
    assert NAMES.root == "faasd.openfaas-fn"
    assert names.bucket(NAMES.results) == "KV_faasd-openfaas-fn-results"
    assert names.bucket(NAMES.state) == "KV_faasd-openfaas-fn-state"
    assert names.store(NAMES.bodies) == "OBJ_faasd-openfaas-fn-bodies"
    assert NAMES.results_row(place) == "$KV.faasd-openfaas-fn-results.resize=2Eopenfaas-fn.10.-.ID"
    assert NAMES.state_row("ID") == "$KV.faasd-openfaas-fn-state.row.ID"
    assert NAMES.running("7") == "$KV.faasd-openfaas-fn-state.running.7"
    assert NAMES.key("a", "k").startswith("$KV.faasd-openfaas-fn-state.key.a.")


@given(st.text(min_size=0, max_size=400))
def test_every_lane_is_one_token(lane):
    """Whatever its name: no dots, wildcards, blanks; short enough for a consumer's name; the same each time."""
    token = names.token(lane)
    assert literal(token)
    assert not set(token) & set(".*>/\\ ")
    assert 0 < len(token) <= names.LONGEST
    assert token == names.token(lane)
    assert names.untoken(token) in {lane, None}
    assert names.untoken(token) == lane or len(token) > 100 or not lane
    assert token != names.QUARANTINE


@given(st.lists(st.text(max_size=300), unique=True, min_size=2, max_size=20))
def test_different_lanes_have_different_tokens(lanes):
    """Also the long ones, which are cut short."""
    assert len({names.token(lane) for lane in lanes}) == len(lanes)


def test_priorities_sort_as_text():
    """The highest first, and nothing beyond the ends."""
    assert [names.turned(priority) for priority in (11, 10, 0, -10, -99)] == ["00", "00", "10", "20", "20"]


@given(st.text())
def test_a_callers_id_is_one_token(call_id):
    """Or a dash when there is none."""
    assert literal(names.caller(call_id))
    assert names.caller(None) == "-" != names.caller(call_id)


# ids


@given(st.integers(0, 2**59 - 1), st.integers(0, 2**45), st.integers(1, 40))
def test_ids_are_uuids_that_grow(node, milliseconds, count):
    """Version 7, the time in front, in order also when the clock stands."""
    ids = Ids(node)
    made = [ids.new(milliseconds / 1000) for _ in range(count)]
    texts = [ids.text(key) for key in made]
    assert texts == sorted(set(texts))
    assert [key_of(text) for text in texts] == made
    assert all(names.is_id(text) for text in texts)
    assert {uuid.UUID(text).version for text in texts} == {7}
    assert time_of(made[0]) == pytest.approx(milliseconds / 1000, abs=0.002)


def test_ids_of_a_clock_that_steps_back_still_grow():
    """Never the same key twice."""
    ids = Ids(1)
    first = ids.new(1000.0)
    assert ids.new(10.0) == first + 1
    assert key_at(1000.0) == first


@pytest.mark.parametrize("text", ["", "x", "0" * 36, "01a20be2-b296-4000-8352-8f3bed41398d", "é"])
def test_other_texts_are_no_ids(text):
    """A caller's X-Call-Id may be anything."""
    assert not names.is_id(text)


# deliveries


def test_a_reply_subject_is_read():
    """Both shapes of it (NATS ADR-15)."""
    short = delivery.parse("$JS.ACK.faasd-x.a_10.3.17.9.1795497643287673564.42")
    assert short == delivery.Delivery("a_10", 3, 17, 42)
    long = delivery.parse("$JS.ACK.hub.ACCHASH.faasd-x.a_10.3.17.9.1795497643287673564.42.token")
    assert long == delivery.Delivery("a_10", 3, 17, 42)


@pytest.mark.parametrize(
    "reply", ["", "_INBOX.x", "$JS.ACK.a.b", "$JS.ACK.s.c.x.y.z.1.2", "$JS.FOO.s.c.1.2.3.4.5"]
)
def test_other_replies_are_no_deliveries(reply):
    """None, not an error."""
    assert delivery.parse(reply) is None


def test_what_is_said_about_a_message():
    """Byte for byte as the server reads it."""
    assert (delivery.ACK, delivery.WORKING, delivery.nak(0)) == (b"+ACK", b"+WPI", b"-NAK")
    assert delivery.nak(1.5) == b'-NAK {"delay": 1500000000}'


# rows


def test_a_call_as_it_is_stored():
    """An array whose fields are in the order of `Call`: new ones come at the end."""
    golden = bytes.fromhex(
        "dc0013b2726573697a652e6f70656e666161732d666ec404504f5354c4022f61c403626f78c406583a20790d0ac4026869a26331"
        "cb3ff8000000000000c0c000c0c0c3c0c400aa687474703a2f2f612f62c0c0"
    )
    assert rows.encode(CALL) == golden
    assert rows.decode_call(golden) == CALL


def test_a_row_as_it_is_stored():
    """A record by names, an outcome as an array."""
    outcome = Outcome(status=200, body=b"ok", size=2)
    data = rows.encode(rows.Row(RECORD, outcome))
    assert data.startswith(bytes.fromhex("92de00") + b"\x10\xa2id\xd9$01a20be2")
    assert rows.decode_row(data) == rows.Row(RECORD, outcome)
    assert rows.read_row_header(rows.row_header(RECORD)) == RECORD


def test_a_claim_and_a_journal_as_they_are_stored():
    """Arrays."""
    claim = rows.Claim("i", "c", b"f", 2.0)
    assert rows.encode(claim).hex() == "95a169a163c40166cb4000000000000000c2"
    assert rows.decode_claim(rows.encode(claim)) == claim
    journal = rows.Journal("t", {7: 2})
    assert rows.encode(journal).hex() == "92a174810702"
    assert rows.decode_journal(rows.encode(journal)) == journal


def test_where_a_large_body_lies():
    """One header, read back as it was."""
    stored = rows.Stored(300_000, 3, "id-1a2b", "ab" * 32, False)
    assert stored.header() == f"300000 3 id-1a2b {'ab' * 32} 0"
    assert rows.read_stored(stored.header()) == stored


@pytest.mark.parametrize("header", ["", "1 2", "a b c d e", "1 2 c d e f"])
def test_a_body_header_that_is_none(header):
    """ValueError, for the quarantine."""
    with pytest.raises(ValueError, match=r"unpack|invalid literal"):
        rows.read_stored(header)


@given(st.binary(max_size=60))
def test_no_bytes_break_a_header(data):
    """A damaged row is a ValueError."""
    try:
        rows.read_row_header(data.hex())
    except ValueError:
        return
