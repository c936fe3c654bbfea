"""The house's slots: never too many, none lost, and each lane in its turn."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from faasd_py.worker.slots import Slots


def test_lanes_are_served_in_turn():
    """Who waits longest is next, and a newcomer does not pass them by."""
    slots: Slots[str] = Slots(1)
    assert slots.take()
    slots.queue("a", "A")
    slots.queue("b", "B")
    assert not slots.take()
    assert slots.give() == ["A"]
    slots.queue("a", "A again")
    assert slots.give() == ["B"]
    assert slots.give() == ["A again"]
    assert slots.give() == []
    assert slots.take()


def test_a_holder_goes_on_while_only_its_own_lane_waits():
    """Giving way to oneself would be of no use; giving way to others is due."""
    slots: Slots[str] = Slots(1)
    slots.take()
    assert not slots.contested("a")
    slots.queue("a", "A")
    assert not slots.contested("a")
    slots.queue("b", "B")
    assert slots.contested("a")
    slots.forget("b")
    assert not slots.contested("a")


def test_a_smaller_limit_is_reached_by_giving_back():
    """Whoever is over the limit may not go on; a larger one wakes those who wait."""
    slots: Slots[str] = Slots(3)
    assert [slots.take() for _ in range(4)] == [True, True, True, False]
    slots.queue("x", "X")
    slots.resize(1)
    assert slots.contested("x")
    assert slots.give() == slots.give() == []
    assert not slots.contested("x")
    slots.queue("y", "Y")
    assert slots.resize(3) == ["X", "Y"]


class SlotsMachine(RuleBasedStateMachine):
    """Any order of moves by lanes that wait, hold and leave."""

    def __init__(self) -> None:
        super().__init__()
        self.slots: Slots[str] = Slots(2)
        self.held: list[str] = []
        self.waiting: list[str] = []

    def woken(self, lanes: list[str]) -> None:
        assert lanes == self.waiting[: len(lanes)], "first come, first served"
        del self.waiting[: len(lanes)]
        self.held += lanes

    @rule(lane=st.sampled_from("abcde"))
    def come(self, lane: str) -> None:
        if lane in self.waiting:
            return
        if self.slots.take():
            self.held.append(lane)
        else:
            self.slots.queue(lane, lane)
            self.waiting.append(lane)

    @precondition(lambda self: self.held)
    @rule(index=st.integers(0, 9))
    def give(self, index: int) -> None:
        self.held.pop(index % len(self.held))
        self.woken(self.slots.give())

    @rule(lane=st.sampled_from("abcde"))
    def forget(self, lane: str) -> None:
        self.slots.forget(lane)
        if lane in self.waiting:
            self.waiting.remove(lane)

    @rule(limit=st.integers(1, 4))
    def resize(self, limit: int) -> None:
        self.woken(self.slots.resize(limit))

    @invariant()
    def counts(self) -> None:
        assert self.slots.used == len(self.held)
        assert not self.waiting or self.slots.used >= self.slots.limit, "nobody waits while there is room"


TestSlots = SlotsMachine.TestCase
TestSlots.settings = settings(max_examples=80, deadline=None)
