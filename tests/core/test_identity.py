"""Ids: UUIDv7 text and 63-bit keys."""

from __future__ import annotations

import uuid

from hypothesis import given
from hypothesis import strategies as st

from faasd_py.core.identity import NODE_BITS, from_text, key_time, next_key, to_text
from faasd_py.queue.keys import Keys

KEYS = st.integers(0, (1 << 63) - 1)
NODES = st.integers(0, (1 << NODE_BITS) - 1)


@given(KEYS, NODES)
def test_text_and_key_are_one(key, node):
    """There and back, in either case of letters."""
    text = to_text(key, node)
    assert from_text(text, node) == key
    assert from_text(text.upper(), node) == key


@given(KEYS, NODES)
def test_the_text_is_a_uuid_of_version_7(key, node):
    """RFC 9562 §5.7: version, variant, milliseconds in front."""
    parsed = uuid.UUID(to_text(key, node))
    assert parsed.variant == uuid.RFC_4122
    assert parsed.version == 7
    assert parsed.int >> 80 == key >> 15


@given(KEYS, NODES, NODES)
def test_another_node_does_not_know_the_id(key, node, other):
    """The node's bits must be the store's own."""
    assert (from_text(to_text(key, node), other) == key) is (node == other)


@given(st.text(max_size=40))
def test_any_other_text_is_no_id(text):
    """None, never an error."""
    assert from_text(text, 5) is None


def test_texts_that_nearly_are_ids():
    """Wrong length, wrong place of a dash, a letter that is no digit, an underscore that int() would take."""
    good = to_text(58834804275871744, 5)
    assert from_text(good, 5) is not None
    for wrong in (
        good[:-1],
        good + "0",
        good.replace("-", ""),
        "g" + good[1:],
        good[:8] + good[9:] + "-",
        "",
    ):
        assert from_text(wrong, 5) is None
    assert from_text(good[:2] + "_" + good[3:], 5) is None
    assert from_text(" " + good[1:], 5) is None


@given(st.lists(st.integers(0, 1 << 41), min_size=1))
def test_keys_grow_whatever_the_clock_does(times):
    """Also when it steps back."""
    last = 0
    for now in times:
        key = next_key(last, now)
        assert key > last
        last = key


def test_a_key_tells_its_time():
    """To the millisecond."""
    assert key_time(next_key(0, 1_700_000_000_123)) == 1_700_000_000.123


def test_more_than_a_counter_full_in_one_millisecond_borrows_from_the_next():
    """No id is given twice."""
    keys = Keys(1)
    given_out = {keys.new(1.7e9) for _ in range(40_000)}
    assert len(given_out) == 40_000


@given(KEYS, NODES)
def test_the_stores_quick_way_gives_the_same_text(key, node):
    """`Keys.text` is `to_text`."""
    keys = Keys(node)
    assert keys.text(key) == to_text(key, node)
    assert keys.key(keys.text(key)) == key
