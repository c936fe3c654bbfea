"""The table of slots: each once, whatever the clock does; what was missed is told, or made up for."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from faasd_py.config.cron import Schedule
from faasd_py.schedule.timetable import LATE, MEMORY, SLACK, Due, Plan, Timetable

NOON = 1_800_014_400.0
MINUTE = Plan(("@every 1m",))
CATCHING = Plan(("@every 1m",), catch_up=True)
DAILY = Plan(("0 12 * * *",), catch_up=True)


def table(plan: Plan = MINUTE, now: float = NOON, label: str = "f.ns", **more) -> Timetable:
    made = Timetable()
    made.put(label, plan, Schedule(plan.texts), now, **more)
    return made


def slots(made: Timetable, now: float) -> list[float]:
    """Those of the only function, from noon."""
    return [slot - NOON for due in made.due(now) for slot in due.slots]


def missed(made: Timetable, now: float) -> bool:
    return any(due.missed for due in made.due(now))


def test_slots_come_due_one_after_the_other():
    """None at its beginning, each when its time has come, none twice."""
    made = table()
    assert slots(made, NOON) == []
    assert made.soonest() == made.next_of("f.ns") == NOON + 60
    assert slots(made, NOON + 59.9) == []
    assert slots(made, NOON + 60) == [60]
    assert slots(made, NOON + 60.1) == []
    assert slots(made, NOON + 120.5) == [120]


def test_a_little_late_is_not_missed():
    """Whoever looks late within a minute finds them all, in order."""
    made = table(Plan(("@every 10s",)))
    assert slots(made, NOON + 45) == [10, 20, 30, 40]
    assert made.due(NOON + 45 + LATE) == [
        Due("f.ns", tuple(NOON + at for at in (50, 60, 70, 80, 90, 100)), missed=False)
    ]


def test_missed_slots_are_gone():
    """Of an hour's sleep the last minute is met, and it is told that others were missed."""
    made = table()
    assert made.due(NOON + 3600) == [Due("f.ns", (NOON + 3600,), missed=True)]
    assert slots(made, NOON + 3661) == [3660]
    daily = table(Plan(("0 12 * * *",)), NOON + 1)
    assert daily.due(NOON + 86400 + 3600) == [Due("f.ns", (), missed=True)]
    assert daily.next_of("f.ns") == NOON + 2 * 86400


def test_the_last_missed_one_is_made_up_for():
    """Once, however many there were."""
    made = table(DAILY, NOON + 1)
    assert made.due(NOON + 3 * 86400 + 7200) == [Due("f.ns", (NOON + 3 * 86400,), missed=True)]
    assert made.due(NOON + 3 * 86400 + 7201) == []
    one = table(DAILY, NOON + 1)
    assert one.due(NOON + 86400 + 7200) == [Due("f.ns", (NOON + 86400,), missed=False)], (
        "it alone is not missed"
    )


def test_behind_at_the_start():
    """The last slot as it was remembered: what came due since then is made up for; else nothing is."""
    made = table(DAILY, NOON + 7200, last=NOON - 86400, behind=True)
    assert slots(made, NOON + 7200) == [0]
    for more in ({}, {"last": NOON - 86400}, {"last": NOON, "behind": True}):
        made = table(DAILY, NOON + 7200, **more)
        assert slots(made, NOON + 7200) == []
        assert made.next_of("f.ns") == NOON + 86400


def test_met_slots_do_not_come_again_when_the_clock_is_set_back():
    """Those that were not met do, when the clock gets there."""
    made = table()
    assert slots(made, NOON + 60) == [60]
    assert slots(made, NOON + 130) == [120]
    assert slots(made, NOON + 30) == []
    assert slots(made, NOON + 61) == slots(made, NOON + 125) == []
    assert slots(made, NOON + 180) == [180]


def test_a_clock_that_was_far_ahead_is_forgotten():
    """A year off and back: the schedule begins anew at the right time."""
    made = table()
    assert slots(made, NOON + 365 * 86400) != []
    assert slots(made, NOON + 5) == []
    assert made.soonest() == NOON + 60
    assert slots(made, NOON + 60) == [60]


def test_a_step_back_is_noticed_before_its_slot():
    """What waits for tomorrow's slot waits for today's again."""
    made = table(DAILY, NOON + 3600)
    assert slots(made, NOON + 3601) == []
    assert slots(made, NOON - 60) == []
    assert made.soonest() == NOON
    assert slots(made, NOON + 1) == [0]


def test_memory_of_others():
    """A slot that somebody remembers as met is not met again, unless it lies more than a day ahead."""
    assert slots(table(now=NOON + 1, last=NOON + 60), NOON + 125) == [120]
    assert slots(table(now=NOON + 1, last=NOON + 61 + MEMORY), NOON + 65) == [60]


def test_lines_are_exchanged_and_dropped():
    """A changed plan counts from now on; a dropped function comes due no more."""
    made = table()
    wanted = {"f.ns": Plan(("@every 7s",)), "g.ns": MINUTE}
    assert sorted(made.differs(wanted)) == ["f.ns", "g.ns"]
    for label in made.differs(wanted):
        made.put(label, wanted[label], Schedule(wanted[label].texts), NOON + 100)
    assert made.differs(wanted) == []
    assert len(made) == 2
    assert [due.label for due in made.due(NOON + 105)] == ["f.ns"]
    made.drop({"g.ns": MINUTE})
    assert made.next_of("f.ns") is None
    assert made.plan_of("f.ns") is None
    assert [due.label for due in made.due(NOON + 125)] == ["g.ns"]
    made.drop({})
    assert made.soonest() == inf
    assert made.due(NOON + 1e6) == []


def test_a_changed_plan_has_nothing_to_catch_up_with():
    """Today's eight o'clock is not made up for at noon because the plan was changed to it."""
    made = table(Plan(("0 6 * * *",), catch_up=True), NOON - 7 * 3600)
    assert slots(made, NOON - 6 * 3600) == [-6 * 3600]
    new = Plan(("0 8 * * *",), catch_up=True)
    made.put("f.ns", new, Schedule(new.texts), NOON)
    assert slots(made, NOON + 1) == []


def test_what_never_comes_is_no_slot():
    """A line without expressions lies there, and does nothing."""
    made = Timetable()
    made.put("f.ns", MINUTE, Schedule(()), NOON)
    assert made.soonest() == inf
    assert made.next_of("f.ns") is None


def test_changes_leave_nothing_behind():
    """Ten thousand functions that come and go, and a clock that jumps: the heap stays small."""
    made, yearly = Timetable(), Plan(("@yearly",))
    schedule = Schedule(yearly.texts)
    for number in range(10_000):
        made.put(f"f{number}.ns", yearly, schedule, NOON)
        made.drop({})
    made.put("f.ns", yearly, schedule, NOON)
    for _ in range(1000):
        made.due(NOON)
        made.due(NOON - 100)
    assert len(made) == 1
    assert len(made._heap) <= SLACK + 2


STEPS = st.one_of(st.floats(0, 30), st.floats(0, 500), st.floats(-4000, 0), st.just(86400.0))


@given(st.lists(STEPS, max_size=60), st.booleans(), st.sampled_from([7, 60, 3600]))
def test_no_slot_is_met_twice(steps, catch_up, period):
    """Whatever the clock does within a day; and each that is met is a slot that has come."""
    plan = Plan((f"@every {period}s",), catch_up)
    made, now, seen = table(plan), NOON, set()
    for step in steps:
        now += step
        for due in made.due(now):
            assert list(due.slots) == sorted(set(due.slots))
            for slot in due.slots:
                assert slot not in seen
                assert slot % period == 0
                assert slot <= now
                seen.add(slot)
        assert made.soonest() > now


@given(st.lists(st.floats(0.01, LATE - 1), min_size=1, max_size=60), st.sampled_from([1, 7, 60]))
def test_none_is_lost_while_somebody_looks(steps, period):
    """Every slot from the first to now was met, when two looks are less than a minute apart."""
    made, now, seen = table(Plan((f"@every {period}s",))), NOON, []
    for step in steps:
        now += step
        seen += [slot for due in made.due(now) for slot in due.slots]
        assert not missed(made, now)
    expected = [float(at) for at in range(int(NOON), int(now) + 1) if at % period == 0 and NOON < at <= now]
    assert seen == expected
